#include <shiplap/bytes/file.hpp>
#include <shiplap/registry/certificates.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/temp.hpp>

using namespace shiplap;

namespace {

void touch(std::string const& path) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    write_file(path, "");
}

} // namespace

TEST_CASE("certificates are found in the folder of their host", "[registry]") {
    temp_dir folder;
    std::vector<std::string> const roots{folder / "user", folder / "system"};
    auto const find = [&](origin const& of) { return find_certificates(of, roots); };
    touch(folder / "system/r.io:5000/b.crt");
    touch(folder / "system/r.io:5000/a.crt");
    touch(folder / "system/r.io:5000/client.cert");
    touch(folder / "system/r.io:5000/client.key");
    touch(folder / "system/r.io:5000/README");
    touch(folder / "system/r.io/ca.crt");
    touch(folder / "system/[::1]:5000/ca.crt");

    auto const found = find({"https", "r.io", 5000});
    CHECK(found.folder == (folder / "system/r.io:5000"));
    CHECK(found.authorities ==
          std::vector<std::string>{folder / "system/r.io:5000/a.crt", folder / "system/r.io:5000/b.crt"});
    CHECK(found.clients == std::vector<client_certificate>{{folder / "system/r.io:5000/client.cert",
                                                            folder / "system/r.io:5000/client.key"}});
    CHECK(find({"https", "r.io", 443}).folder == (folder / "system/r.io"));
    CHECK(find({"https", "::1", 5000}).authorities.size() == 1);
    for (origin const& other :
         {origin{"https", "r.io", 5001}, {"https", "x.r.io", 443}, {"http", "r.io", 5000}})
        CHECK(find(other).folder.empty());

    SECTION("the port given, before it is left out") {
        touch(folder / "system/r.io:443/other.crt");
        CHECK(find({"https", "r.io", 443}).folder == (folder / "system/r.io:443"));
    }
    SECTION("the user's before the system's, and none mixed") {
        touch(folder / "user/r.io:5000/mine.crt");
        auto const mine = find({"https", "r.io", 5000});
        CHECK(mine.authorities == std::vector<std::string>{folder / "user/r.io:5000/mine.crt"});
        CHECK(mine.clients.empty());
    }
    SECTION("a missing partner is told") {
        touch(folder / "user/r.io:5000/lonely.cert");
        CHECK_THROWS_WITH(find({"https", "r.io", 5000}),
                          contains("lonely.cert") && contains("key") && contains("lonely.key"));
        touch(folder / "user/r.io/lonely.key");
        CHECK_THROWS_WITH(find({"https", "r.io", 443}), contains("lonely.key") && contains("lonely.cert"));
    }
}

TEST_CASE("folders for certificates are Docker's and Podman's", "[registry]") {
    auto const roots = certificate_roots();
    REQUIRE(roots.size() >= 2);
    CHECK(roots[roots.size() - 2] == "/etc/containers/certs.d");
    CHECK(roots.back() == "/etc/docker/certs.d");
}
