#include <shiplap/registry/credentials.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <algorithm>

using namespace shiplap;

namespace {

static_assert(credential_source<configured_credentials>);

registry_access const r_io{.registry = {"https", "r.io", 443}, .name = "r.io", .repository = "team/app"};

std::string file_of(std::string const& user) {
    return R"({"auths":{"r.io":{"auth":")" + detail::base64(user + ":x") + "\"}}}";
}

/// A home with files of several programs, and nothing of the real one.
struct home {
    temp_dir dir;
    environment env{{"HOME", dir / "home"}, {"XDG_RUNTIME_DIR", dir / "run"}, {"PATH", "/nowhere"}};

    void add(std::string const& name, std::string const& text) const {
        std::filesystem::create_directories(std::filesystem::path{dir / name}.parent_path());
        write_file(dir / name, text, 0600);
    }
    [[nodiscard]] std::string user() const {
        auto const found = configured_credentials{env}.find(r_io);
        return found ? found->user : "none";
    }
};

} // namespace

TEST_CASE("logins are looked for in this order", "[credentials]") {
    home h;
    CHECK(h.user() == "none");
    h.add("home/.config/containers/auth.json", file_of("podman"));
    CHECK(h.user() == "podman");
    h.add("run/containers/auth.json", file_of("podman until logout"));
    CHECK(h.user() == "podman until logout");
    h.add("home/.docker/config.json", file_of("docker"));
    CHECK(h.user() == "docker");
    h.add("auth", file_of("file"));
    h.env["REGISTRY_AUTH_FILE"] = h.dir / "auth";
    CHECK(h.user() == "file");
    h.env["DOCKER_AUTH_CONFIG"] = file_of("variable");
    CHECK(h.user() == "variable");
}

TEST_CASE("variables move files", "[credentials]") {
    home h;
    h.add("home/.docker/config.json", file_of("docker"));
    h.add("other/config.json", file_of("other"));
    h.env["DOCKER_CONFIG"] = h.dir / "other";
    CHECK(h.user() == "other");
    h.env["DOCKER_CONFIG"] = h.dir / "absent";
    CHECK(h.user() == "none"); // and not that of ~/.docker
    h.add("xdg/containers/auth.json", file_of("xdg"));
    h.env["XDG_CONFIG_HOME"] = h.dir / "xdg";
    CHECK(h.user() == "xdg");
    h.env["HOME"] = "";
    CHECK(h.user() == "xdg");
}

TEST_CASE("what has nothing for the registry is passed over", "[credentials]") {
    home h;
    h.add("home/.docker/config.json", R"({"auths":{"x.io":{"auth":"Ym9iOng="},"r.io":{}}})");
    h.add("run/containers/auth.json", "\n");
    h.add("home/.config/containers/auth.json", file_of("podman"));
    h.env["DOCKER_AUTH_CONFIG"] = "{}";
    CHECK(h.user() == "podman");
}

TEST_CASE("a broken file is an error, and so is one that cannot be read", "[credentials]") {
    home h;
    h.add("home/.config/containers/auth.json", file_of("podman"));
    h.add("home/.docker/config.json", "{\"auths\":");
    CHECK_THROWS_WITH(h.user(), contains("home/.docker/config.json': parse error at line 1"));
    std::filesystem::remove(h.dir / "home/.docker/config.json");
    std::filesystem::create_directory(h.dir / "home/.docker/config.json");
    CHECK_THROWS_AS(h.user(), system_error);
    h.env["DOCKER_AUTH_CONFIG"] = "secret";
    CHECK_THROWS_WITH(h.user(), contains("$DOCKER_AUTH_CONFIG") && !contains("secret"));
}

TEST_CASE("a login while it runs counts", "[credentials]") {
    home h;
    configured_credentials const source{h.env};
    CHECK_FALSE(source.find(r_io));
    h.add("home/.docker/config.json", file_of("late"));
    CHECK(source.find(r_io).value().user == "late");
    CHECK(source.find(r_io).value().found_in == h.dir / "home/.docker/config.json");
}

TEST_CASE("the places are known", "[credentials]") {
    home h;
    h.env["DOCKER_AUTH_CONFIG"] = "{}";
    CHECK(configured_credentials{h.env}.places() ==
          std::vector<std::string>{"$DOCKER_AUTH_CONFIG", h.dir / "home/.docker/config.json",
                                   h.dir / "run/containers/auth.json",
                                   h.dir / "home/.config/containers/auth.json"});
    auto const bare = configured_credentials{environment{}}.places();
    REQUIRE(bare.size() == 1);
    CHECK(bare[0].starts_with("/run/containers/"));
}
