#include <shiplap/sink/apply.hpp>
#include <shiplap/sink/flatten.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"
#include "tar/support.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

using namespace shiplap;

namespace {

tar_entry file(std::string name, std::uint64_t size = 1) {
    return {.name = std::move(name), .mode = 0644, .size = size};
}
tar_entry folder(std::string name, std::uint32_t mode = 0755) {
    return {.name = std::move(name), .type = entry_type::directory, .mode = mode};
}
tar_entry hard(std::string name, std::string target) {
    return {
        .name = std::move(name), .type = entry_type::hard_link, .mode = 0644, .link_name = std::move(target)};
}

tar_entry gone(std::string const& path) {
    return whiteout_entry(path);
}

using layer = std::vector<tar_entry>;

/// Calls take(kept, layer, position in it) for all that is left, in order.
template <class Take>
void flatten(std::vector<layer> const& layers, flattened into, Take take) {
    layer_flattener flattener{into};
    for (auto index = layers.size(); index-- > 0;)
        for (auto const& entry : layers[index]) flattener.survey(index, entry);
    for (std::size_t index = 0; index < layers.size(); ++index)
        for (std::size_t i = 0; i < layers[index].size(); ++i)
            flattener.decide(index, layers[index][i], [&](tar_entry const& kept) { take(kept, index, i); });
}

// "name", "name>target" for hard links, "name/mode" for directories.
std::string shown(std::vector<layer> const& layers, flattened into) {
    std::string out;
    flatten(layers, into, [&](tar_entry const& kept, std::size_t, std::size_t) {
        out += kept.name;
        if (kept.type == entry_type::hard_link) out += ">" + kept.link_name;
        if (kept.type == entry_type::directory) out += std::to_string(kept.mode);
        out += ' ';
    });
    return out;
}

std::string const d = std::to_string(0755);

} // namespace

TEST_CASE("what stacked layers leave", "[flatten]") {
    struct row {
        char const* what;
        std::vector<layer> layers;
        std::string left;
    };
    auto const& [what, layers, left] = GENERATE(values<row>({
        {"one layer stays as it is",
         {{folder("a/"), file("a/x"), hard("y", "a/x")}},
         "a/" + d + " a/x y>a/x "},
        {"the upper file counts", {{file("x", 1)}, {file("x", 2)}}, "x "},
        {"a whiteout removes, and is gone itself", {{file("x"), file("y")}, {file(".wh.x", 0)}}, "y "},
        {"a whiteout removes a tree", {{folder("a/"), file("a/x")}, {file(".wh.a", 0)}}, ""},
        {"a whiteout does not touch its own layer", {{file("x")}, {file(".wh.x", 0), file("x")}}, "x "},
        {"removed and made anew",
         {{folder("a/"), file("a/x")}, {file(".wh.a", 0)}, {folder("a/"), file("a/y")}},
         "a/" + d + " a/y "},
        {"opaque hides below, not itself",
         {{folder("a/"), file("a/x"), file("b")}, {folder("a/"), file("a/.wh..wh..opq", 0), file("a/y")}},
         "a/" + d + " b a/y "},
        {"opaque counts wherever it stands",
         {{file("a/x")}, {file("a/y"), file("a/.wh..wh..opq", 0)}},
         "a/y "},
        {"an opaque root", {{file("x")}, {file(".wh..wh..opq", 0), file("y")}}, "y "},
        {"a file in the place of a directory", {{folder("a/"), file("a/x")}, {file("a")}}, "a "},
        {"a directory in the place of a file",
         {{file("a")}, {folder("a/"), file("a/x")}},
         "a/" + d + " a/x "},
        {"a directory comes first, with its last facts",
         {{folder("a/", 0700), file("a/x")}, {folder("a/", 0711)}},
         "a/" + std::to_string(0711) + " a/x "},
        {"names are one whatever their style", {{file("./a/x")}, {file("a/.wh.x", 0)}}, ""},
        {"the root has the last facts",
         {{folder("./", 0700), file("x")}, {folder(".", 0711)}},
         "./" + std::to_string(0711) + " x "},
        {"other AUFS metadata is left out", {{file(".wh..wh.plnk", 0), file("x")}}, "x "},
        {"a link whose target is replaced inherits the content",
         {{file("x"), hard("y", "x"), hard("z", "x")}, {file("x")}},
         "y z>y x "},
        {"no heir if all links are gone", {{file("x"), hard("y", "x")}, {file("x"), file(".wh.y", 0)}}, "x "},
        {"a link to a lower layer that is still there", {{file("x")}, {hard("y", "x")}}, "x y>x "},
        {"a link to a lower layer that is not", {{file("x")}, {hard("y", "x")}, {file("x")}}, "y x "},
        {"links to links",
         {{file("x"), hard("y", "x"), hard("z", "y")}, {hard("w", "z")}, {gone("x"), gone("y"), gone("z")}},
         "w "},
        {"an heir is in its directory",
         {{file("a"), folder("b/"), hard("b/x", "a")}, {gone("a")}},
         "b/" + d + " b/x "},
    }));
    CAPTURE(what);
    CHECK(shown(layers, flattened::tree) == left);
}

TEST_CASE("what stacked layers do to those below", "[flatten]") {
    struct row {
        char const* what;
        std::vector<layer> layers;
        std::string left;
    };
    auto const& [what, layers, left] = GENERATE(values<row>({
        {"one layer stays as it is",
         {{gone("w"), folder("a/"), gone("a/v"), file("a/x"), hard("y", "a/x")}},
         ".wh.w a/" + d + " a/.wh.v a/x y>a/x "},
        {"what is removed twice", {{gone("x")}, {gone("x")}}, ".wh.x "},
        {"what comes and goes may have been there before", {{file("x")}, {gone("x")}}, ".wh.x "},
        {"what goes and comes back", {{gone("x")}, {file("x")}}, "x "},
        {"a removed tree", {{folder("a/"), file("a/x"), gone("a/y")}, {gone("a")}}, ".wh.a "},
        {"a removed tree that comes back",
         {{gone("a")}, {file("y"), folder("a/"), file("a/x")}},
         "a/" + d + " a/.wh..wh..opq y a/x "},
        {"the same without an entry of its own",
         {{gone("a")}, {file("a/b/x")}},
         "a/" + d + " a/.wh..wh..opq a/b/x "},
        {"a directory in the place of a file",
         {{file("a")}, {folder("a/"), file("a/x")}},
         "a/" + d + " a/.wh..wh..opq a/x "},
        {"a file in the place of a directory", {{folder("a/"), gone("a/y")}, {file("a")}}, "a "},
        {"opaque, then more",
         {{folder("a/"), file("a/.wh..wh..opq", 0), gone("a/z"), file("a/x")},
          {folder("a/", 0700), file("a/y")}},
         "a/" + std::to_string(0700) + " a/.wh..wh..opq a/x a/y "},
        {"opaque without an entry", {{file("a/x")}, {file("a/.wh..wh..opq", 0)}}, "a/.wh..wh..opq "},
        {"opaque below opaque",
         {{file("a/.wh..wh..opq", 0), file("a/b/.wh..wh..opq", 0), file("a/b/x")}},
         "a/.wh..wh..opq a/b/x "},
        {"an opaque root", {{file("x"), gone("y")}, {file(".wh..wh..opq", 0), file("z")}}, ".wh..wh..opq z "},
        {"an opaque root that has an entry",
         {{folder("./")}, {file(".wh..wh..opq", 0)}},
         "./" + d + " .wh..wh..opq "},
        {"whiteouts below what is no directory any more", {{gone("a/x")}, {gone("a")}, {file("a")}}, "a "},
        {"a link to something below them", {{hard("y", "x")}, {hard("z", "y"), gone("y")}}, "z>x .wh.y "},
        {"the parents of an heir are there first",
         {{file("x")}, {folder("a/"), hard("a/y", "x"), gone("x")}},
         "a/" + d + " a/y .wh.x "},
        {"other AUFS metadata is left out", {{file(".wh..wh.plnk", 0), file("x")}}, "x "},
    }));
    CAPTURE(what);
    CHECK(shown(layers, flattened::changes) == left);
}

TEST_CASE("what cannot be expressed is an error", "[flatten]") {
    CHECK_THROWS_WITH(shown({{hard("y", "x")}, {file("x")}}, flattened::changes),
                      contains("'y'") && contains("hard link"));
    CHECK_THROWS_WITH(shown({{file("a/../../x")}}, flattened::tree), contains("leaves the root"));
    CHECK_THROWS_AS(shown({{file("a/.wh.", 0)}}, flattened::tree), error);
}

// --- any layers ------------------------------------------------------------------------------------------

namespace {

/// Layers over few names, so that much of them collides. Mostly such as can be applied.
class random_layers {
  public:
    explicit random_layers(std::uint64_t seed) : random_{seed} {}

    std::vector<layer> stack(std::size_t count) {
        std::vector<layer> layers;
        while (layers.size() < count) layers.push_back(next());
        return layers;
    }

  private:
    std::size_t below(std::size_t bound) { return random_() % bound; }

    std::string name() {
        std::string path(1, static_cast<char>('a' + below(3)));
        for (auto depth = below(3); depth > 0; --depth)
            path += std::string{"/"} + static_cast<char>('a' + below(3));
        return path;
    }

    static bool is_within(std::string const& path, std::string const& folder) {
        return folder.empty() || path == folder || path.starts_with(folder + "/");
    }
    void forget(std::string const& path) {
        std::erase_if(there_, [&](auto const& one) { return is_within(one.first, path); });
    }
    void forget_below(std::string const& path) {
        std::erase_if(there_, [&](auto const& one) {
            return one.first != path && is_within(one.first, path) && !brought_.contains(one.first);
        });
    }
    // There must be directories, or nothing, above it.
    bool has_room(std::string const& path) {
        for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
            if (auto const found = there_.find(path.substr(0, slash));
                found != there_.end() && !found->second)
                return false;
        return true;
    }
    bool is_brought(std::string const& path) {
        return std::any_of(brought_.begin(), brought_.end(),
                           [&](auto const& one) { return is_within(one, path) || is_within(path, one); });
    }

    bool is_brought_below(std::string const& path) {
        return std::any_of(brought_.begin(), brought_.end(),
                           [&](auto const& one) { return one != path && is_within(one, path); });
    }

    layer next() {
        layer entries;
        brought_.clear();
        std::set<std::string> names;
        for (auto count = below(9); count > 0; --count) {
            auto const path = name();
            auto const kind = below(12);
            auto const mode = static_cast<std::uint32_t>(0700 + below(8) * 010 + below(8));
            timestamp const time{static_cast<std::int64_t>(1'000'000 + below(1'000'000)), 0};
            if (!has_room(path)) continue;
            if (kind < 3) {
                if (is_brought(path) || !names.insert(path).second) continue;
                entries.push_back(gone(path));
                forget(path);
                continue;
            }
            if (kind == 3) {
                auto const of = below(6) == 0 ? std::string{} : path;
                // Behind what it spares, what becomes of directories depends on who extracts it.
                if (is_brought_below(of) || !names.insert(of + "/").second) continue;
                if (auto const found = there_.find(of); found != there_.end() && !found->second) continue;
                entries.push_back(file((of.empty() ? of : of + "/") + ".wh..wh..opq", 0));
                forget_below(of);
                continue;
            }
            if (brought_.contains(path)) continue;
            tar_entry made{.name = path, .mode = mode, .mtime = time};
            bool const is_folder = kind >= 8;
            if (!is_folder && is_brought(path)) continue; // would take away what this layer has brought
            if (is_folder) {
                made.type = entry_type::directory;
                if (auto const found = there_.find(path); found != there_.end() && !found->second)
                    forget(path);
            } else if (kind == 4) {
                made.type = entry_type::symbolic_link;
                made.link_name = "nowhere";
                made.mode = 0777;
            } else if (kind == 5) {
                std::vector<std::string> files;
                for (auto const& [other, folder] : there_)
                    if (!folder && !is_within(other, path)) files.push_back(other);
                if (files.empty()) continue;
                made.type = entry_type::hard_link;
                made.link_name = files[below(files.size())];
            } else {
                made.size = 1 + below(1000);
            }
            if (!is_folder) forget(path);
            for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
                there_.emplace(path.substr(0, slash), true);
                brought_.insert(path.substr(0, slash));
            }
            there_[path] = is_folder;
            brought_.insert(path);
            entries.push_back(std::move(made));
        }
        return entries;
    }

    std::mt19937_64 random_;
    std::map<std::string, bool> there_; // whether it is a directory
    std::set<std::string> brought_;     // by this layer
};

// The content of a file is told by its size.
tar_tests::stored_entry stored(tar_entry const& entry) {
    return {entry, std::string(entry.size, 'x')};
}
std::string tar_of(layer const& entries) {
    std::vector<tar_tests::stored_entry> all;
    for (auto const& entry : entries) all.push_back(stored(entry));
    return tar_tests::archive_of(all);
}

/// Whether this is an empty directory, but for such ones, that was made without an entry: it need not be there.
bool is_leftover(std::filesystem::path const& folder) {
    struct ::stat facts {};
    trees::expect(::lstat(folder.c_str(), &facts) == 0, folder);
    if (!S_ISDIR(facts.st_mode) || (facts.st_mode & 07777) != 0755 || facts.st_mtim.tv_sec != 0) return false;
    std::filesystem::directory_iterator const entries{folder};
    return std::all_of(begin(entries), end(entries), [](auto const& one) { return is_leftover(one.path()); });
}

/// What a root file system looks like after these layers; one that cannot be applied is an error.
std::vector<std::string> applied(std::vector<layer> const& layers) {
    temp_dir dir;
    std::filesystem::create_directory(dir / "root");
    trees::set_time(dir / "root", {5, 0});
    layer_applier root{root_directory{detail::open_file(dir / "root", O_PATH | O_DIRECTORY)}};
    for (auto const& entries : layers) {
        auto const tar = tar_of(entries);
        span_source source{tar};
        root.apply(source, "layer");
    }
    std::vector<std::string> all;
    std::map<::ino_t, std::vector<std::string>> names;
    auto const tell = [&](std::filesystem::path const& path) {
        if (is_leftover(path)) return;
        struct ::stat facts {};
        trees::expect(::lstat(path.c_str(), &facts) == 0, path);
        auto const shown = path.lexically_relative(dir / "root").string();
        all.push_back(shown + " " + std::to_string(facts.st_mode) + " at " +
                      std::to_string(facts.st_mtim.tv_sec) +
                      (S_ISDIR(facts.st_mode) ? "" : " " + std::to_string(facts.st_size)));
        if (!S_ISDIR(facts.st_mode)) names[facts.st_ino].push_back(shown);
    };
    tell(dir / "root");
    for (auto const& entry : std::filesystem::recursive_directory_iterator{dir / "root"}) tell(entry.path());
    for (auto& [inode, same] : names) {
        std::sort(same.begin(), same.end());
        std::string text = "one file:";
        for (auto const& name : same) text += " " + name;
        all.push_back(text);
    }
    std::sort(all.begin(), all.end());
    return all;
}

layer one_layer(std::vector<layer> const& layers, flattened into) {
    layer out;
    flatten(layers, into, [&](tar_entry const& kept, std::size_t, std::size_t) { out.push_back(kept); });
    return out;
}

} // namespace

TEST_CASE("one layer does what many did", "[flatten]") {
    std::size_t compared = 0, inexpressible = 0;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        CAPTURE(seed);
        random_layers random{seed};
        auto const base = random.stack(1 + seed % 2), above = random.stack(1 + seed / 2 % 4);
        auto all = base;
        all.insert(all.end(), above.begin(), above.end());
        std::vector<std::string> wanted;
        try {
            wanted = applied(all);
        } catch (error const&) {
            continue; // not such layers as there are
        }
        REQUIRE(applied({one_layer(all, flattened::tree)}) == wanted);
        auto squashed = base;
        try {
            squashed.push_back(one_layer(above, flattened::changes));
        } catch (error const& problem) {
            REQUIRE(problem.code() == error_code::unsupported);
            ++inexpressible;
            continue;
        }
        REQUIRE(applied(squashed) == wanted);
        REQUIRE(one_layer({squashed.back()}, flattened::changes) == squashed.back());
        ++compared;
    }
    CHECK(compared > 700);
    CHECK(inexpressible < 80);
}

TEST_CASE("of a path that a layer has twice the last one counts", "[flatten]") {
    auto const into = GENERATE(flattened::tree, flattened::changes);
    CHECK(shown({{file("x", 1), file("y"), file("x", 2)}, {file("z")}}, into) == "y x z ");
    CHECK(shown({{folder("a/", 0755), file("a/x"), folder("a/", 0700)}, {file("z")}}, into) ==
          "a/" + std::to_string(0700) + " a/x z ");
    std::vector<std::uint64_t> sizes;
    flatten({{file("x", 1), file("x", 2), file("x", 3)}, {file("z")}}, into,
            [&](tar_entry const& kept, std::size_t, std::size_t) { sizes.push_back(kept.size); });
    CHECK(sizes == std::vector<std::uint64_t>{3, 1});
    // What would not be as when they are extracted one after the other is refused.
    for (auto const& twice : std::vector<layer>{{folder("p/"), file("p/q"), file("p")},
                                                {file("p"), folder("p/")},
                                                {file("a"), hard("b", "a"), file("a")},
                                                {file("a"), hard("b", "a"), file("b")},
                                                {file("a"), file("b"), hard("b", "a")}})
        CHECK_THROWS_WITH(shown({twice, {file("z")}}, into), Catch::Matchers::Contains("twice in one layer"));
}

TEST_CASE("a single layer needs no survey", "[flatten]") {
    layer_flattener flattener;
    std::string names;
    for (auto const& entry : layer{folder("a/", 0755), file("x", 1), folder("a/", 0700), file("x", 2)})
        flattener.decide(0, entry, [&](tar_entry const& kept) { names += kept.name + " "; });
    CHECK(names == "a/ x a/ x ");
}
