#include <shiplap/layer/diff.hpp>
#include <shiplap/layer/directory.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

#include <map>
#include <random>

#include <sys/socket.h>
#include <sys/un.h>

using namespace shiplap;

namespace {

static_assert(sized_layer<diff_layer> && !stored_layer<diff_layer>);

struct tree_pair {
    temp_dir lower, upper;
    [[nodiscard]] diff_layer layer() const { return {lower.path(), upper.path()}; }
    [[nodiscard]] std::vector<trees::read_entry> entries() const { return trees::entries_of(layer()); }
    [[nodiscard]] std::vector<std::string> names() const { return trees::names_of(entries()); }
    void both(std::string const& name, std::string_view content = "same") {
        trees::write(lower / name, content);
        trees::write(upper / name, content);
    }
};

/// What a tree comes down to when a layer is unpacked: links to one file are files with the same facts.
struct node {
    entry_type type;
    std::uint32_t mode;
    std::uint64_t uid, gid;
    timestamp mtime; // of directories: ignored, as a differ does
    std::string link_name, content;
    friend auto operator<=>(node const&, node const&) = default;
};
using model = std::map<std::string, node>;

void apply_layer(model& tree, std::vector<trees::read_entry> const& layer) {
    auto const remove = [&tree](std::string const& path, bool itself) {
        if (itself) tree.erase(path);
        auto const below = path + "/";
        tree.erase(tree.lower_bound(below), tree.lower_bound(path + "0")); // '0' follows '/'
    };
    for (auto const& [header, content] : layer) {
        if (auto const gone = classify_whiteout(header.name); gone.kind == whiteout_kind::removal) {
            REQUIRE(tree.contains(gone.path)); // there is nothing else to remove
            remove(gone.path, true);
            continue;
        }
        auto path = header.name;
        if (path.ends_with('/')) path.pop_back();
        if (auto const slash = path.rfind('/'); slash != std::string::npos) {
            auto const parent = tree.find(path.substr(0, slash));
            REQUIRE(parent != tree.end());
            REQUIRE(parent->second.type == entry_type::directory);
        }
        if (header.type != entry_type::directory) remove(path, false);
        if (header.type == entry_type::hard_link) {
            REQUIRE(tree.contains(header.link_name));
            tree[path] = node{tree.at(header.link_name)};
            continue;
        }
        auto const mtime = header.type == entry_type::directory ? timestamp{} : header.mtime;
        tree[path] = {header.type, header.mode, header.uid, header.gid, mtime, header.link_name, content};
    }
}

model unpacked(std::string const& folder) {
    model tree;
    apply_layer(tree, trees::entries_of(directory_layer{folder}));
    return tree;
}

} // namespace

TEST_CASE("the difference of a tree to itself, or to nothing", "[layer][diff]") {
    tree_pair pair;
    trees::write(pair.upper / "a/b", "x");
    trees::write(pair.upper / "c", "y");
    std::filesystem::create_hard_link(pair.upper / "c", pair.upper / "d");
    CHECK(trees::tar_of(diff_layer{pair.upper.path(), pair.upper.path()}) == std::string(1024, '\0'));
    CHECK(trees::tar_of(pair.layer()) == trees::tar_of(directory_layer{pair.upper.path()}));
    CHECK(trees::names_of(trees::entries_of(diff_layer{pair.upper.path(), pair.lower.path()})) ==
          std::vector<std::string>{".wh.a", ".wh.c", ".wh.d"});
}

TEST_CASE("which entries a difference has, and in which order", "[layer][diff]") {
    struct diff_case {
        char const* name;
        void (*make)(tree_pair&);
        std::vector<std::string> entries;
    };
    auto const c = GENERATE_COPY(values<diff_case>({
        {"a file is added below unchanged directories",
         [](tree_pair& p) {
             p.both("a/b/same");
             trees::write(p.upper / "a/b/new", "x");
         },
         {"a/", "a/b/", "a/b/new"}},
        {"a file is deleted below unchanged directories",
         [](tree_pair& p) {
             p.both("a/b/same");
             trees::write(p.lower / "a/b/old", "x");
         },
         {"a/", "a/b/", "a/b/.wh.old"}},
        {"parents come once",
         [](tree_pair& p) {
             p.both("a/same");
             for (auto const* name : {"a/x", "a/y", "a/z/1"}) trees::write(p.upper / name, "x");
         },
         {"a/", "a/x", "a/y", "a/z/", "a/z/1"}},
        {"a deletion stands where the deleted name stood",
         [](tree_pair& p) {
             trees::write(p.lower / "m", "x");
             for (auto const* name : {"!", "a", "z"}) trees::write(p.upper / name, "x");
         },
         {"!", "a", ".wh.m", "z"}},
        {"a whole directory is one deletion",
         [](tree_pair& p) {
             for (auto const* name : {"d/1", "d/2/3", "d-"}) trees::write(p.lower / name, "x");
             trees::write(p.upper / "e", "x");
         },
         {".wh.d", ".wh.d-", "e"}},
        {"a directory becomes a file",
         [](tree_pair& p) {
             for (auto const* name : {"d/1", "d/2/3"}) trees::write(p.lower / name, "x");
             trees::write(p.upper / "d", "x");
             trees::write(p.upper / "e", "x");
         },
         {"d", "e"}},
        {"a file becomes a directory",
         [](tree_pair& p) {
             trees::write(p.lower / "d", "x");
             trees::write(p.upper / "d/1", "x");
         },
         {"d/", "d/1"}},
        {"a directory changes, its content does not",
         [](tree_pair& p) {
             p.both("d/same");
             REQUIRE(::chmod((p.upper / "d").c_str(), 0700) == 0);
         },
         {"d/"}},
        {"a directory's time is no change",
         [](tree_pair& p) {
             p.both("d/same");
             trees::set_time(p.upper / "d", {1, 0});
         },
         {}},
        {"order is by components",
         [](tree_pair& p) {
             for (auto const* name : {"a/b", "a-b", "a.b"}) p.both(name, "1");
             for (auto const* name : {"a/b", "a-b", "a.b"}) trees::write(p.upper / name, "2");
         },
         {"a/", "a/b", "a-b", "a.b"}},
        {"an unchanged name of a file follows a changed one as a link",
         [](tree_pair& p) {
             p.both("dir/first");
             std::filesystem::create_hard_link(p.upper / "dir/first", p.upper / "second");
             std::filesystem::create_hard_link(p.upper / "dir/first", p.upper / "third");
         },
         {"second", "dir/", "dir/first", "third"}},
        {"an unchanged name that comes later is a link at its own place",
         [](tree_pair& p) {
             p.both("m");
             std::filesystem::create_hard_link(p.upper / "m", p.upper / "a");
         },
         {"a", "m"}},
        {"unchanged names of an unchanged file are none of the layer's business",
         [](tree_pair& p) {
             for (auto const* folder : {&p.lower, &p.upper}) {
                 trees::write(*folder / "a", "x");
                 std::filesystem::create_hard_link(*folder / "a", *folder / "b");
             }
             trees::write(p.upper / "c", "x");
         },
         {"c"}},
    }));
    INFO(c.name);
    tree_pair pair;
    c.make(pair);
    CHECK(pair.names() == c.entries);
    auto tree = unpacked(pair.lower.path());
    apply_layer(tree, pair.entries());
    CHECK(tree == unpacked(pair.upper.path()));
}

TEST_CASE("links to the first name that is written", "[layer][diff]") {
    tree_pair pair;
    pair.both("dir/first");
    std::filesystem::create_hard_link(pair.upper / "dir/first", pair.upper / "second");
    std::filesystem::create_hard_link(pair.upper / "dir/first", pair.upper / "third");
    auto const entries = pair.entries();
    REQUIRE(entries.size() == 4);
    CHECK(entries[0].header.type == entry_type::regular);
    CHECK(entries[0].content == "same");
    for (auto const i : {2u, 3u}) {
        CHECK(entries[i].header.type == entry_type::hard_link);
        CHECK(entries[i].header.link_name == "second");
        CHECK(entries[i].content.empty());
    }
}

TEST_CASE("parents have the facts of the upper tree, whiteouts have none", "[layer][diff]") {
    tree_pair pair;
    pair.both("d/same");
    trees::write(pair.lower / "d/old", "x");
    trees::set_time(pair.upper / "d", {1'234'567'890, 500'000'000});
    clamp_timestamps const clamp{{-10, 0}};
    auto const kept = pair.entries(), clamped = trees::entries_of(pair.layer(), {clamp, {}});
    REQUIRE(kept.size() == 2);
    CHECK(kept[0].header.mtime == timestamp{1'234'567'890, 0});
    CHECK(kept[1].header == whiteout_entry("d/old"));
    CHECK(clamped[0].header.mtime == timestamp{-10, 0});
    CHECK(clamped[1].header == whiteout_entry("d/old"));
}

TEST_CASE("a socket that was added leaves no trace", "[layer][diff]") {
    tree_pair pair;
    pair.both("d/same");
    unique_fd const socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (pair.upper / "d/s").copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(socket.get(), reinterpret_cast<::sockaddr const*>(&address), sizeof address) == 0);
    CHECK(pair.names().empty());
}

TEST_CASE("parents beyond PATH_MAX", "[layer][diff]") {
    tree_pair pair;
    for (auto const* folder : {&pair.lower, &pair.upper}) {
        auto at = detail::open_file(folder->path(), O_RDONLY | O_DIRECTORY);
        std::string const name(100, 'n');
        for (int i = 0; i < 100; ++i) {
            REQUIRE(::mkdirat(at.get(), name.c_str(), 0755) == 0);
            at = unique_fd{::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        }
        unique_fd const file{
            ::openat(at.get(), folder == &pair.lower ? "old" : "new", O_WRONLY | O_CREAT, 0644)};
        REQUIRE(file);
    }
    auto const names = pair.names();
    REQUIRE(names.size() == 102);
    CHECK(names[0] == std::string(100, 'n') + "/");
    CHECK(names[100].ends_with("/new"));
    CHECK(names[101].ends_with("/.wh.old"));
}

TEST_CASE("reserved names in either tree are refused or left out", "[layer][diff]") {
    tree_pair pair;
    pair.both("d/same");
    auto const in_upper = GENERATE(true, false);
    trees::write((in_upper ? pair.upper : pair.lower) / "d/.wh.x", "");
    CHECK(trees::error_of([&] { static_cast<void>(pair.names()); }).subject() ==
          (in_upper ? pair.upper : pair.lower) / "d/.wh.x");
    auto layer = pair.layer();
    layer.reserved = reserved_names::skip;
    CHECK(trees::entries_of(layer).empty());
}

TEST_CASE("both inputs must be directories", "[layer][diff]") {
    tree_pair pair;
    string_sink out;
    auto const none = pair.lower / "none";
    CHECK(trees::error_of([&] {
              diff_layer{none, pair.upper.path()}.write_tar(out, layer_context{});
          }).subject() == none);
    CHECK(trees::error_of([&] {
              diff_layer{pair.lower.path(), none}.write_tar(out, layer_context{});
          }).subject() == none);
    CHECK(trees::error_of([&] {
              diff_layer{pair.lower.path(), ""}.write_tar(out, layer_context{});
          }).code() == error_code::option);
    CHECK(out.text.empty());
}

namespace {

/// Makes a tree at random; two that start from one seed and end in different `edits` are alike in most.
class random_tree {
  public:
    random_tree(temp_dir const& root, unsigned seed, unsigned edits) : root_{root}, dice_{seed} {
        for (int i = 0; i < 40; ++i) add();
        dice_.seed(seed + 1000 * edits);
        for (int i = 0; i < 10; ++i) edits % 2 == 0 || pick(2) == 0 ? add() : remove();
    }

  private:
    unsigned pick(unsigned n) { return static_cast<unsigned>(dice_()) % n; }

    std::string path() {
        static constexpr char const* names[] = {"a", "b", "a-", "a.", "c", "\xff"};
        std::string made{root_.path()};
        for (unsigned parts = 1 + pick(3); parts != 0; --parts) made.append("/").append(names[pick(6)]);
        return made;
    }

    void remove() { std::filesystem::remove_all(path(), ignored_); }

    void add() {
        auto const here = path();
        auto const kind = pick(8);
        auto const content = std::to_string(pick(3));
        auto const mode = pick(4) == 0 ? 0600u : 0644u;
        auto const parent = std::filesystem::path{here}.parent_path();
        for (auto up = parent; up != root_.path(); up = up.parent_path())
            if (!is_directory(symlink_status(up, ignored_))) std::filesystem::remove(up, ignored_);
        std::filesystem::create_directories(parent);
        if (kind == 0 && !files_.empty()) {
            auto const target = files_[pick(static_cast<unsigned>(files_.size()))];
            std::filesystem::remove_all(here, ignored_);
            std::filesystem::create_hard_link(target, here, ignored_);
            return;
        }
        if (kind == 1) {
            std::filesystem::create_directories(here, ignored_);
            return;
        }
        std::filesystem::remove_all(here);
        if (kind == 2) {
            std::filesystem::create_symlink(content, here);
            trees::set_time(here, {1'600'000'000, 0});
            return;
        }
        // A sub-second time vouches for the content, so it must come from it.
        trees::write(here, content, mode, {1'600'000'000, kind == 3 ? 1 + content[0] : 0});
        files_.push_back(here);
    }

    temp_dir const& root_;
    std::mt19937 dice_;
    std::error_code ignored_;
    std::vector<std::string> files_;
};

} // namespace

TEST_CASE("the difference applied to the lower tree gives the upper one", "[layer][diff]") {
    auto const seed = GENERATE(range(1u, 60u));
    tree_pair pair;
    random_tree{pair.lower, seed, 0};
    random_tree{pair.upper, seed, 1 + seed % 3};
    INFO("seed " << seed);
    auto const entries = pair.entries();
    auto const names = trees::names_of(entries);
    CHECK(std::set<std::string>{names.begin(), names.end()}.size() == names.size()); // none twice
    auto tree = unpacked(pair.lower.path());
    apply_layer(tree, entries);
    CHECK((tree == unpacked(pair.upper.path())));
    auto const estimate = pair.layer().estimated_size();
    auto const actual = trees::tar_of(pair.layer()).size();
    CHECK(estimate <= actual + 1024);
    CHECK(actual <= estimate + 1024 * 40);
}
