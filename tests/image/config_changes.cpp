#include <shiplap/image/config_changes.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

std::string with_config(std::string const& config) {
    return R"({"architecture":"amd64",)" + (config.empty() ? "" : "\"config\":" + config + ",") +
           R"("os":"linux"})";
}

} // namespace

TEST_CASE("config_changes: each does what its instruction in a Dockerfile does") {
    struct row {
        std::string before;
        config_changes changes;
        std::string after;
    };
    auto const rows = std::vector<row>{
        {"", {.user = "me"}, R"({"User":"me"})"},
        {"null", {.user = "me"}, R"({"User":"me"})"},
        {R"({"User":"you","Env":[]})", {.user = "me"}, R"({"User":"me","Env":[]})"},
        {R"({"Env":["A=1","B=2","AB=3"]})",
         {.env = {"A=x=y", "C=", "B=<"}},
         R"({"Env":["A=x=y","B=\u003c","AB=3","C="]})"},
        {R"({"Env":null})", {.env = {"A=1"}}, R"({"Env":["A=1"]})"},
        {R"({"Cmd":["old"]})", {.cmd = {{"new", "x"}}}, R"({"Cmd":["new","x"]})"},
        {R"({"Cmd":["old"]})", {.cmd = {std::vector<std::string>{}}}, "{}"},
        {R"({"Cmd":["old"]})", {.entrypoint = {{"run"}}}, R"({"Entrypoint":["run"]})"},
        {R"({"Cmd":["old"]})",
         {.entrypoint = {{"run"}}, .cmd = {{"new"}}},
         R"({"Entrypoint":["run"],"Cmd":["new"]})"},
        {R"({"Entrypoint":["x"],"Cmd":["old"]})", {.entrypoint = {std::vector<std::string>{}}}, "{}"},
        {R"({"Entrypoint":["x"]})", {.cmd = {{"new"}}}, R"({"Entrypoint":["x"],"Cmd":["new"]})"},
        {R"({"Labels":{"b":"1","a":"2"}})",
         {.labels = {{"b", "3"}, {"aa", "4"}}},
         R"({"Labels":{"a":"2","aa":"4","b":"3"}})"},
        {"", {.working_dir = "/w"}, R"({"WorkingDir":"/w"})"},
        {R"({"ExposedPorts":{"9/udp":{},"80/tcp":{}}})",
         {.exposed_ports = {"80", "443/TCP", "10-12/sctp"}},
         R"({"ExposedPorts":{"10/sctp":{},"11/sctp":{},"12/sctp":{},"443/tcp":{},"80/tcp":{},"9/udp":{}}})"},
        // new members stand where Go has them; unknown ones and those that are there keep their order
        {R"({"X":1,"Labels":{},"Env":["A=1"]})",
         {.cmd = {{"c"}}, .working_dir = "/w", .user = "u"},
         R"({"X":1,"User":"u","Cmd":["c"],"WorkingDir":"/w","Labels":{},"Env":["A=1"]})"},
        {"",
         {.env = {"A=1"},
          .entrypoint = {{"e"}},
          .cmd = {{"c"}},
          .labels = {{"l", "1"}},
          .working_dir = "/w",
          .user = "u",
          .exposed_ports = {"1"}},
         R"({"User":"u","ExposedPorts":{"1/tcp":{}},"Env":["A=1"],"Entrypoint":["e"],"Cmd":["c"],"WorkingDir":"/w",)"
         R"("Labels":{"l":"1"}})"},
    };
    for (auto const& [before, changes, after] : rows) {
        CAPTURE(before, after);
        CHECK(apply_changes(with_config(before), "c", changes) == with_config(after));
    }
}

TEST_CASE("config_changes: none leave the text alone, some leave the other members alone") {
    CHECK(apply_changes("not even JSON", "c", {}) == "not even JSON");
    CHECK(
        apply_changes(R"({"z":[1.50, "\u0041"],"os":"linux","architecture":"amd64"})", "c", {.user = "u"}) ==
        R"({"architecture":"amd64","config":{"User":"u"},"os":"linux","z":[1.50,"\u0041"]})");
}

TEST_CASE("config_changes: what makes no sense is refused, with the right form") {
    struct row {
        config_changes changes;
        std::string reason;
    };
    auto rows = std::vector<row>{
        {{.env = {"A"}}, "KEY=VALUE"},      {{.env = {"=b"}}, "KEY=VALUE"},
        {{.env = {""}}, "KEY=VALUE"},       {{.labels = {{"", "x"}}}, "KEY=VALUE"},
        {{.working_dir = "w"}, "absolute"},
    };
    for (auto const* port : {"", "0", "65536", "99999999999", "-1", "80-", "82-80", "80/", "80/icmp", "http",
                             "80/tcp/x", "127.0.0.1:80", " 80"})
        rows.push_back({{.exposed_ports = {port}}, "PORT-PORT"});
    for (auto const& [changes, reason] : rows) {
        CHECK_THROWS_AS(apply_changes(with_config(""), "c", changes), option_error);
        CHECK_THROWS_WITH(apply_changes(with_config(""), "c", changes), contains(reason));
    }
    CHECK_NOTHROW(
        apply_changes(R"({"architecture":"amd64","os":"windows"})", "c", {.working_dir = "C:\\app"}));
    CHECK_THROWS_AS(apply_changes("{}", "c", {.user = "u"}), format_error);
    CHECK_THROWS_AS(apply_changes(with_config(R"({"labels":{}})"), "c", {.labels = {{"a", "b"}}}),
                    format_error);
}
