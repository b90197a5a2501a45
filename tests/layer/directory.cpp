#include <shiplap/digest/digest.hpp>
#include <shiplap/layer/directory.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

std::string digest_of(std::string_view bytes) {
    return digest::of<sha256>(as_bytes(bytes)).text();
}

/// Runs an action when the byte at `offset` passes.
template <class Action>
struct tripwire {
    std::uint64_t offset;
    Action act;
    std::uint64_t seen = 0;
    void write(bytes_view in) {
        if (seen <= offset && offset < seen + in.size()) act();
        seen += in.size();
    }
};

template <class Action>
tripwire(std::uint64_t, Action) -> tripwire<Action>;

static_assert(sized_layer<directory_layer> && !stored_layer<directory_layer>);
static_assert(std::regular<ownership> && std::copyable<directory_layer>);

} // namespace

TEST_CASE("the same tree has the digest that BuildKit gives it", "[layer][directory]") {
    if (!trees::is_root()) {
        WARN("needs root, the tree's owner: not tested");
        return;
    }
    struct golden {
        char const* tree;
        char const* kept;
        char const* clamped; // to 1500000000
    };
    auto const known = GENERATE(values<golden>({
        {"plain", "sha256:d8b3c446f713b52dfbad370df9166315d6d269c395ac7b0c3a0a770339897749",
         "sha256:dbd60ae08aa7d6f93131a20b51fc6c43edafcc0fab4dbec8ae0832d47f742429"},
        {"links", "sha256:01e859aa09df36050ae921c33509a59de76261f66c333e5095540be1e1a2cf1f",
         "sha256:49a0e7905d8d4aba06874d356b6b19bc170d25243cb699b1b9f5b635f8932ab7"},
    }));
    temp_dir temp;
    auto const command = std::string{"python3 " SHIPLAP_SOURCE_DIR "/tests/support/golden_tree.py '"} +
                         (temp / "tree") + "' " + known.tree;
    REQUIRE(std::system(command.c_str()) == 0); // NOLINT(cert-env33-c): our own script
    directory_layer const layer{temp / "tree"};
    CHECK(digest_of(trees::tar_of(layer)) == known.kept);
    clamp_timestamps const clamp{{1'500'000'000, 0}};
    CHECK(digest_of(trees::tar_of(layer, {clamp, {}})) == known.clamped);
}

TEST_CASE("a directory layer has everything but the root, in order", "[layer][directory]") {
    temp_dir temp;
    for (auto const* name : {"b", "a-b", "a/z", "a/b/c"}) trees::write(temp / name, name);
    std::filesystem::create_directory(temp / "empty");
    std::filesystem::create_symlink("loop", temp / "loop");
    auto const entries = trees::entries_of(directory_layer{temp.path()});
    CHECK(trees::names_of(entries) ==
          std::vector<std::string>{"a/", "a/b/", "a/b/c", "a/z", "a-b", "b", "empty/", "loop"});
    CHECK(entries[2].content == "a/b/c");
    CHECK(entries[7].header.type == entry_type::symbolic_link);
}

TEST_CASE("an empty directory is an empty archive", "[layer][directory]") {
    temp_dir temp;
    CHECK(digest_of(trees::tar_of(directory_layer{temp.path()})) ==
          "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}

TEST_CASE("odd names come back as they are", "[layer][directory]") {
    temp_dir temp;
    std::vector<std::string> names{"\n",
                                   " ",
                                   "-rf",
                                   "\\",
                                   "a=b",
                                   "caf\xc3\xa9",
                                   "cafe\xcc\x81",
                                   "\xff\xfe",
                                   "\x01\x7f",
                                   std::string(255, 'l'),
                                   "...",
                                   ".whx",
                                   "x\xe2\x82\xac" + std::string(200, 'y')};
    for (auto const& name : names) trees::write(temp / name, name);
    for (auto const& folder : {std::string(100, 'd'), std::string(99, 'e')}) {
        trees::write(temp / (folder + "/" + std::string(155, 'f')), "x");
        names.insert(names.end(), {folder + "/", folder + "/" + std::string(155, 'f')});
    }
    auto const entries = trees::entries_of(directory_layer{temp.path()});
    auto found = trees::names_of(entries);
    CHECK(std::is_sorted(found.begin(), found.end(),
                         [](auto const& a, auto const& b) { return compare_walk_order(a, b) < 0; }));
    std::sort(found.begin(), found.end());
    std::sort(names.begin(), names.end());
    CHECK(found == names);
}

TEST_CASE("paths far beyond PATH_MAX", "[layer][directory]") {
    temp_dir temp;
    auto at = detail::open_file(temp.path(), O_RDONLY | O_DIRECTORY);
    std::string const name(50, 'n');
    for (int i = 0; i < 200; ++i) {
        REQUIRE(::mkdirat(at.get(), name.c_str(), 0755) == 0);
        at = unique_fd{::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    }
    unique_fd const file{::openat(at.get(), "end", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)};
    detail::write_fully(file.get(), as_bytes("deep"), "end");
    auto const entries = trees::entries_of(directory_layer{temp.path()});
    REQUIRE(entries.size() == 201);
    CHECK(entries.back().header.name.size() == 200 * 51 + 3);
    CHECK(entries.back().content == "deep");
}

TEST_CASE("the bytes do not depend on the order of creation, nor on repetition", "[layer][directory]") {
    std::vector<std::string> names;
    for (int i = 0; i < 300; ++i)
        names.push_back((i % 3 == 0 ? "sub/" : "") + std::to_string(i * 7919 % 1000) + "x");
    auto const make = [](temp_dir const& folder, auto first, auto last) {
        for (; first != last; ++first) trees::write(folder / *first, *first);
        trees::set_time(folder / "sub", {5, 0});
    };
    temp_dir one, two;
    make(one, names.begin(), names.end());
    make(two, names.rbegin(), names.rend());
    directory_layer const layer{one.path()};
    auto const bytes = trees::tar_of(layer);
    CHECK(digest_of(bytes) == digest_of(trees::tar_of(directory_layer{two.path()})));
    CHECK(digest_of(bytes) == digest_of(trees::tar_of(layer)));
}

TEST_CASE("the estimated size is right where no extended header is needed", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "d/f", std::string(700, 'x'));
    trees::write(temp / "g", std::string(512, 'x'));
    std::filesystem::create_hard_link(temp / "g", temp / "h");
    std::filesystem::create_symlink("target", temp / "l");
    directory_layer const layer{temp.path()};
    CHECK(layer.estimated_size() == trees::tar_of(layer).size());
    CHECK(layer.description() == "dir:" + temp.path().string());
}

TEST_CASE("owners can be replaced", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "d/f", "");
    for (auto const& entry :
         trees::entries_of(directory_layer{.path = temp.path(), .owners = owned_by(12, 34)})) {
        CHECK(entry.header.uid == 12);
        CHECK(entry.header.gid == 34);
    }
}

TEST_CASE("reserved names are an error or left out", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "d/.wh.f", "");
    trees::write(temp / "d/g", "");
    CHECK(trees::error_of([&] { trees::tar_of(directory_layer{temp.path()}); }).subject() ==
          temp / "d/.wh.f");
    CHECK(trees::names_of(
              trees::entries_of(directory_layer{.path = temp.path(), .reserved = reserved_names::skip})) ==
          std::vector<std::string>{"d/", "d/g"});
}

TEST_CASE("what is no directory is refused before a byte is written", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "file", "");
    auto const name = GENERATE(as<std::string>{}, "", "file", "none");
    auto const path = name.empty() ? "" : temp / name;
    string_sink out;
    auto const problem = trees::error_of([&] { directory_layer{path}.write_tar(out, layer_context{}); });
    CHECK(problem.subject() == path);
    CHECK(out.text.empty());
}

TEST_CASE("a file that changes while it is packed fails, with its name", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "a", "");
    trees::write(temp / "big", std::string(12 * transfer_size, 'x'));
    trees::write(temp / "c", "");
    auto const path = temp / "big";

    struct change {
        char const* name;
        void (*make)(std::string const&);
    };
    auto const how = GENERATE(values<change>({
        {"grows",
         [](auto const& file) {
             std::ofstream{file, std::ios::app} << "y";
         }},
        {"shrinks", [](auto const& file) { std::filesystem::resize_file(file, 10); }},
        {"is rewritten in place",
         [](auto const& file) { trees::write(file, std::string(12 * transfer_size, 'y')); }},
    }));
    INFO(how.name);
    tripwire trip{transfer_size, [&] { how.make(path); }}; // inside the content of "big"
    auto const problem =
        trees::error_of([&] { directory_layer{temp.path()}.write_tar(trip, layer_context{}); });
    CHECK(problem.code() == error_code::source_changed);
    CHECK(problem.subject() == path);
}

TEST_CASE("a file that cannot be read fails, with its name", "[layer][directory]") {
    temp_dir temp;
    trees::write(temp / "a", "");
    trees::write(temp / "b", "x");
    SECTION("it vanished") {
        tripwire trip{0, [&] { std::filesystem::remove(temp / "b"); }};
        CHECK(trees::error_of([&] {
                  directory_layer{temp.path()}.write_tar(trip, layer_context{});
              }).subject() == temp / "b");
    }
    SECTION("it may not be read") {
        if (trees::is_root()) return; // nothing is forbidden
        REQUIRE(::chmod((temp / "b").c_str(), 0) == 0);
        auto const problem = trees::error_of([&] { trees::tar_of(directory_layer{temp.path()}); });
        CHECK(problem.subject() == temp / "b");
        CHECK(problem.reason() == "Permission denied");
    }
}
