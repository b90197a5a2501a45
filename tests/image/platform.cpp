#include <shiplap/image/platform.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

TEST_CASE("platform: other names come down to the registered ones") {
    struct row {
        std::string text, canonical;
    };
    auto const [text, canonical] = GENERATE(values<row>({
        {"linux/amd64", "linux/amd64"},
        {"linux/x86_64", "linux/amd64"},
        {"linux/x86-64", "linux/amd64"},
        {"linux/amd64/v1", "linux/amd64"},
        {"linux/amd64/v2", "linux/amd64/v2"},
        {"Linux/AMD64", "linux/amd64"},
        {"linux/aarch64", "linux/arm64"},
        {"linux/arm64/v8", "linux/arm64"},
        {"linux/arm64/8", "linux/arm64"},
        {"linux/arm64/v9", "linux/arm64/v9"},
        {"linux/arm64/v9.0", "linux/arm64/v9"},
        {"linux/arm", "linux/arm/v7"},
        {"linux/arm/v7", "linux/arm/v7"},
        {"linux/arm/6", "linux/arm/v6"},
        {"linux/armhf", "linux/arm/v7"},
        {"linux/armel", "linux/arm/v6"},
        {"linux/i386", "linux/386"},
        {"macos/arm64", "darwin/arm64"},
        {"windows(10.0.17763.1)/amd64", "windows/amd64"},
        {"linux/mips64le", "linux/mips64le"},
        {"linux/riscv64/rva20u64", "linux/riscv64/rva20u64"},
        {"plan9/unheard-of", "plan9/unheard-of"},
    }));
    CAPTURE(text);
    auto const parsed = parse_platform(text);
    CHECK(format(parsed) == canonical);
    CHECK(normalised(parsed) == parsed);
    CHECK(format(parse_platform(format(parsed))) == canonical);
}

TEST_CASE("platform: one part alone is completed from the host") {
    auto const host = host_platform();
    CHECK(host.os == "linux");
    CHECK_FALSE(host.architecture.empty());
    CHECK(normalised(host) == host);
    CHECK(parse_platform("linux") == host);
    CHECK(parse_platform("windows").architecture == host.architecture);
    CHECK(parse_platform("windows(10.0)").os_version == "10.0");
    CHECK(parse_platform("aarch64") == platform{.os = host.os, .architecture = "arm64"});
    CHECK(parse_platform("arm") == platform{.os = host.os, .architecture = "arm", .variant = "v7"});
}

TEST_CASE("platform: malformed text is refused and the right form named") {
    auto const text = GENERATE(
        values<std::string>({"", "/", "linux/", "/amd64", "linux//v8", "linux/arm64/v8/x", "nonsense",
                             "nonsense(1.0)", "amd64(1)", "linux/*", "linux amd64", "linux/am d64",
                             "windows(10/amd64", "windows(1 0)/amd64", "linux/\xc3\xa9"}));
    CAPTURE(text);
    CHECK_THROWS_AS(parse_platform(text), option_error);
    CHECK_THROWS_WITH(parse_platform(text), contains("os/architecture[/variant]"));
}

TEST_CASE("platform: JSON in Go's order, and back") {
    platform const full{.os = "windows",
                        .architecture = "arm",
                        .variant = "v7",
                        .os_version = "10.0",
                        .os_features = {"win32k", "x"}};
    auto const text = compact(to_json(full));
    CHECK(text == R"({"architecture":"arm","os":"windows","os.version":"10.0","os.features":["win32k","x"],)"
                  R"("variant":"v7"})");
    CHECK(read_platform(json_node{parse_json(text, "p"), "p"}) == full);
    CHECK(compact(to_json(platform{.os = "linux", .architecture = "amd64"})) ==
          R"({"architecture":"amd64","os":"linux"})");

    auto const bad = GENERATE(values<std::string>(
        {"{}", "[]", R"({"os":"linux"})", R"({"architecture":"amd64"})", R"({"architecture":1,"os":"linux"})",
         R"({"architecture":"amd64","os":"linux","variant":7})",
         R"({"architecture":"amd64","os":"linux","os.features":"x"})"}));
    auto const document = parse_json(bad, "p");
    CHECK_THROWS_AS(read_platform(json_node{document, "p"}), format_error);
}
