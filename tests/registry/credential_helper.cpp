#include <shiplap/registry/credential_helper.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <atomic>
#include <thread>

using namespace shiplap;
using namespace std::chrono_literals;

namespace {

/// Helpers are scripts in a folder that is all of $PATH, apart from what scripts need.
struct helpers {
    temp_dir dir;
    environment env{{"PATH", dir.path().string() + ":/usr/bin:/bin"}};

    void add(std::string const& suffix, std::string const& script) const {
        write_file(dir / ("docker-credential-" + suffix), "#!/bin/sh\n" + script, 0755);
    }
    [[nodiscard]] auto ask(std::string const& suffix, std::chrono::milliseconds patience = 10s) const {
        return ask_credential_helper(suffix, "r.io", env, patience);
    }
    [[nodiscard]] std::string failure(std::string const& suffix,
                                      std::chrono::milliseconds patience = 10s) const {
        try {
            static_cast<void>(ask(suffix, patience));
        } catch (credential_error const& failure) {
            return failure.what();
        }
        return "no failure";
    }
};

} // namespace

TEST_CASE("a helper is asked for a server and answers", "[credential_helper]") {
    helpers h;
    h.add(
        "good",
        R"(read server; printf '{"ServerURL":"%s","Username":"%s-%s","Secret":"x"}' "$server" "$1" "$server")");
    auto const found = h.ask("good").value();
    CHECK(found.user == "get-r.io");
    CHECK(found.password.reveal() == "x");
    CHECK(found.found_in == "docker-credential-good");

    h.add("token", R"(printf '{"ServerURL":"r.io","Username":"<token>","Secret":"refresh"}')");
    CHECK(h.ask("token").value().identity_token.reveal() == "refresh");
    CHECK(h.ask("token").value().user.empty());
}

TEST_CASE("a helper may have nothing", "[credential_helper]") {
    helpers h;
    h.add("none", "echo 'credentials not found in native keychain'; exit 1");
    CHECK_FALSE(h.ask("none"));
    h.add("empty", "echo '{\"ServerURL\":\"\",\"Username\":\"\",\"Secret\":\"\"}'");
    CHECK_FALSE(h.ask("empty"));
}

TEST_CASE("what a helper says when it fails is told", "[credential_helper]") {
    helpers h;
    h.add("locked", "printf 'the \\033[1mkeyring\\033[0m is locked\\n'; exit 3");
    CHECK(h.failure("locked") == "ask credential helper 'docker-credential-locked': exit status 3: the "
                                 "\\x1b[1mkeyring\\x1b[0m is locked");
    h.add("mute", "echo 'no display' >&2; exit 1");
    CHECK_THAT(h.failure("mute"), contains("exit status 1: no display"));
    h.add("killed", "kill -9 $$");
    CHECK_THAT(h.failure("killed"), contains("ended by signal 9"));
    CHECK_THAT(h.failure("absent"),
               contains("'docker-credential-absent': there is no such program in $PATH"));
}

TEST_CASE("junk of a helper is an error that does not repeat it", "[credential_helper]") {
    helpers h;
    auto const script = GENERATE(as<std::string>{}, "", "echo swordfish", "printf '{\"Secret\":\"swordfish'",
                                 "echo '{\"Username\":1,\"Secret\":\"swordfish\"}'", "echo '[\"swordfish\"]'",
                                 "printf '{\"Username\":\"a\",\"Secret\":\"swordfish\"} swordfish'");
    h.add("junk", script);
    auto const text = h.failure("junk");
    CHECK_THAT(text, contains("its answer is not what the protocol says"));
    CHECK_THAT(text, !contains("swordfish"));
}

TEST_CASE("a helper that hangs or floods is killed, with what it started", "[credential_helper]") {
    helpers h;
    h.add("hangs", "echo $$ > '" + (h.dir / "pid") + "'; sleep 1000 & sleep 1000");
    CHECK_THAT(h.failure("hangs", 200ms), contains("no answer within 200 ms"));
    auto const group = std::stoi(read_file(h.dir / "pid", 100));
    for (int i = 0; i < 1000 && ::kill(-group, 0) == 0; ++i) std::this_thread::sleep_for(5ms);
    CHECK(::kill(-group, 0) != 0);

    h.add("floods", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done");
    CHECK_THAT(h.failure("floods"), contains("more than 65536 bytes"));
}

TEST_CASE("a daemon that a helper leaves behind is not waited for", "[credential_helper]") {
    helpers h;
    h.add("agent", "sleep 2 & echo '{\"Username\":\"a\",\"Secret\":\"b\"}'");
    auto const start = std::chrono::steady_clock::now();
    CHECK(h.ask("agent").value().user == "a");
    CHECK(std::chrono::steady_clock::now() - start < 1900ms);
}

TEST_CASE("a helper that does not read its input does no harm", "[credential_helper]") {
    helpers h;
    h.add("deaf", "exec 0<&-; echo '{\"Username\":\"a\",\"Secret\":\"b\"}'");
    CHECK(h.ask("deaf").value().user == "a");
}

TEST_CASE("a helper sees what it needs of the environment", "[credential_helper]") {
    helpers h;
    h.env.emplace("HOME", "/home/a");
    h.env.emplace("AWS_PROFILE", "b");
    h.env.emplace("GITHUB_TOKEN", "c");
    h.env.emplace("DOCKER_AUTH_CONFIG", "{}");
    h.add("env", "printf '{\"Username\":\"%s\",\"Secret\":\"x\"}' "
                 "\"$HOME,$AWS_PROFILE,$GITHUB_TOKEN,$DOCKER_AUTH_CONFIG\"");
    CHECK(h.ask("env").value().user == "/home/a,b,,");
    CHECK(helper_may_see("LC_ALL"));
    CHECK_FALSE(helper_may_see("LD_PRELOAD"));
}

TEST_CASE("names of helpers lead to no other program", "[credential_helper]") {
    helpers h;
    auto const suffix =
        GENERATE(as<std::string>{}, "", "a/b", "../x", "a b", "a;b", "a$b", std::string{"a\0b", 3}, "\u00fc");
    CHECK_THAT(h.failure(suffix), contains("letters, digits"));
    write_file(h.dir / "docker-credential-plain", "no program", 0644);
    CHECK_THAT(h.failure("plain"), contains("no such program"));
    h.env["PATH"] = ":.:relative";
    h.add("plain", "exit 0");
    CHECK_THAT(h.failure("plain"), contains("no such program"));
}

TEST_CASE("helpers are asked on many threads at once", "[credential_helper]") {
    helpers h;
    h.add("slow", "read s; sleep 0.05; echo '{\"Username\":\"a\",\"Secret\":\"b\"}'");
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i)
        threads.emplace_back([&] { right += h.ask("slow").value_or(credential{}).user == "a"; });
    for (auto& one : threads) one.join();
    CHECK(right == 16);
}
