#pragma once
// credential_helper: asks a program docker-credential-SUFFIX for a credential, as the docker command does: the server
// on its standard input, JSON with Username and Secret on its output.
//
// No shell is involved. The program gets ten seconds, then it and what it started are killed. Of the environment it
// gets what it may need to reach a key store or a cloud, and nothing else: see helper_may_see().

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/registry/credential.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace shiplap {

/// Variables by name: what code that would call getenv() gets instead.
using environment = std::map<std::string, std::string, std::less<>>;

/// Those of this process, now.
inline environment process_environment() {
    environment found;
    for (char** one = ::environ; one != nullptr && *one != nullptr; ++one) {
        std::string_view const text{*one};
        if (auto const equals = text.find('='); equals != text.npos)
            found.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return found;
}

/// Whether a helper gets the variable: where things are, the user's session and key store, the proxy, and what belongs
/// to the cloud that it asks. Not, for instance, DOCKER_AUTH_CONFIG or the tokens of a build server.
inline bool helper_may_see(std::string_view name) {
    static constexpr std::array names{
        "PATH",       "HOME",        "USER",          "LOGNAME",
        "LANG",       "TZ",          "TMPDIR",        "DISPLAY",
        "XAUTHORITY", "HTTP_PROXY",  "HTTPS_PROXY",   "NO_PROXY",
        "http_proxy", "https_proxy", "no_proxy",      "WAYLAND_DISPLAY",
        "GNUPGHOME",  "ALL_PROXY",   "DOCKER_CONFIG", "DBUS_SESSION_BUS_ADDRESS",
        "all_proxy"};
    static constexpr std::array prefixes{"LC_",     "XDG_",     "GPG",    "PASSWORD_STORE_", "AWS_",
                                         "GOOGLE_", "CLOUDSDK", "AZURE_", "SSL_CERT"};
    auto const starts = [&](char const* prefix) { return name.starts_with(prefix); };
    return std::find(names.begin(), names.end(), name) != names.end() ||
           std::any_of(prefixes.begin(), prefixes.end(), starts);
}

namespace detail {

struct helper_outcome {
    int status = 0; ///< as of waitpid()
    bool in_time = true;
    bool too_long = false; ///< more came than was asked for
    std::string out{}, err{};
};

inline constexpr std::size_t max_helper_output = 64 * 1024;

/// A pipe of descriptors above the three that the program gets its own of.
struct helper_pipe {
    unique_fd read_end, write_end;
    helper_pipe() {
        std::array<int, 2> made{};
        if (::pipe2(made.data(), O_CLOEXEC) != 0) throw system_error{"pipe", "", errno};
        unique_fd const first{made[0]}, second{made[1]};
        read_end = unique_fd{::fcntl(first.get(), F_DUPFD_CLOEXEC, 3)};
        write_end = unique_fd{::fcntl(second.get(), F_DUPFD_CLOEXEC, 3)};
        if (!read_end || !write_end) throw system_error{"pipe", "", errno};
    }
};

/// The program in $PATH, or "".
inline std::string find_program(std::string const& name, environment const& env) {
    auto const path = env.find("PATH");
    std::string_view rest =
        path == env.end() ? std::string_view{"/usr/local/bin:/usr/bin:/bin"} : path->second;
    while (!rest.empty()) {
        auto const colon = std::min(rest.find(':'), rest.size());
        auto candidate = std::string{rest.substr(0, colon)} + "/" + name;
        // Relative directories would let the current one decide what runs.
        if (rest.starts_with('/') && ::access(candidate.c_str(), X_OK) == 0) return candidate;
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return {};
}

/// Takes what has arrived; false at the end.
inline bool drain(int fd, std::string& into, helper_outcome& outcome) {
    for (std::array<char, 4096> buffer;
         ;) { // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read()
        auto const n = retry_interrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
        if (n <= 0) return n < 0 && errno == EAGAIN;
        into.append(buffer.data(), static_cast<std::size_t>(n));
        if (into.size() > max_helper_output) {
            outcome.too_long = true;
            return false;
        }
    }
}

inline helper_outcome run_helper(std::string const& program, std::string_view input, environment const& env,
                                 std::chrono::milliseconds patience) {
    helper_pipe in, out, err;
    // All of it before there is a reader: it fits, and nobody can close the other end under it.
    write_fully(in.write_end.get(), as_bytes(input), program);
    in.write_end = unique_fd{};
    for (auto const* const one : {&out, &err}) ::fcntl(one->read_end.get(), F_SETFL, O_NONBLOCK);

    std::vector<std::string> variables;
    for (auto const& [name, value] : env)
        if (helper_may_see(name)) variables.emplace_back(name).append("=").append(value);
    std::vector<char*> envp;
    envp.reserve(variables.size() + 1);
    for (auto& one : variables) envp.push_back(one.data());
    envp.push_back(nullptr);
    std::string name = program, verb = "get";
    std::array<char*, 3> argv{name.data(), verb.data(), nullptr};

    ::posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in.read_end.get(), 0);
    ::posix_spawn_file_actions_adddup2(&actions, out.write_end.get(), 1);
    ::posix_spawn_file_actions_adddup2(&actions, err.write_end.get(), 2);
    ::posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0); // so that all of it can be killed
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    ::pid_t pid = 0;
    int const failure = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), envp.data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failure != 0) throw system_error{"run", program, failure};
    out.write_end = unique_fd{};
    err.write_end = unique_fd{};

    // A daemon that the helper started may keep the pipes open, so the end of the process counts, not theirs.
    helper_outcome outcome;
    auto const deadline = std::chrono::steady_clock::now() + patience;
    bool out_open = true, err_open = true;
    for (;;) {
        auto const ended = retry_interrupted([&] { return ::waitpid(pid, &outcome.status, WNOHANG); });
        if (out_open) out_open = drain(out.read_end.get(), outcome.out, outcome);
        if (err_open) err_open = drain(err.read_end.get(), outcome.err, outcome);
        if (ended != 0)
            return outcome; // or nobody may wait here (SIGCHLD is ignored): then the output decides
        outcome.in_time = std::chrono::steady_clock::now() < deadline;
        if (!outcome.in_time || outcome.too_long) break;
        std::array<::pollfd, 2> wait{{{out_open ? out.read_end.get() : -1, POLLIN, 0},
                                      {err_open ? err.read_end.get() : -1, POLLIN, 0}}};
        ::poll(wait.data(), wait.size(), 5); // milliseconds; also how long an end may go unnoticed
    }
    ::kill(-pid, SIGKILL);
    retry_interrupted([&] { return ::waitpid(pid, nullptr, 0); });
    return outcome;
}

/// parse_json() for what holds secrets: its messages do not quote the text.
inline json parse_secret_json(std::string_view text, std::string const& subject) {
    try {
        return parse_json(text, subject);
    } catch (format_error const& found) {
        auto const& reason = found.reason();
        throw format_error{found.operation(), subject, reason.substr(0, reason.find("; last read"))};
    }
}

} // namespace detail

/// What docker-credential-`suffix` has for `server`; none if it says that it has nothing. Throws credential_error,
/// which names the program and tells its words, if it is missing, fails, or says something else.
inline std::optional<credential>
ask_credential_helper(std::string const& suffix, std::string const& server, environment const& env,
                      std::chrono::milliseconds patience = std::chrono::seconds{10}) {
    auto const name = "docker-credential-" + suffix;
    auto const fail = [&](std::string reason) {
        return credential_error{"ask credential helper", name, std::move(reason)};
    };
    auto const allowed = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '.' || c == '-';
    };
    if (suffix.empty() || !std::all_of(suffix.begin(), suffix.end(), allowed))
        throw fail("a helper's name has letters, digits, '_', '.' and '-' only");
    if (server.size() > 4096) throw fail("the name of the server is too long");
    auto const program = detail::find_program(name, env);
    if (program.empty()) throw fail("there is no such program in $PATH");

    auto const outcome = detail::run_helper(program, server, env, patience);
    if (!outcome.in_time)
        throw fail("no answer within " + std::to_string(patience.count()) + " ms; it was killed");
    if (outcome.too_long)
        throw fail("says more than " + std::to_string(detail::max_helper_output) + " bytes");
    if (outcome.status != 0) {
        if (outcome.out.find("credentials not found") != std::string::npos ||
            outcome.err.find("credentials not found") != std::string::npos)
            return {};
        auto words =
            outcome.out.find_first_not_of(" \r\n\t") == std::string::npos ? outcome.err : outcome.out;
        words = words.substr(0, std::min<std::size_t>(words.find_last_not_of(" \r\n\t") + 1, 400));
        auto const how = WIFEXITED(outcome.status)
                             ? "exit status " + std::to_string(WEXITSTATUS(outcome.status))
                             : "ended by signal " + std::to_string(WTERMSIG(outcome.status));
        throw fail(how + (words.empty() ? "" : ": " + printable(words)));
    }
    try {
        auto const document = detail::parse_secret_json(outcome.out, name);
        json_node const root{document, name};
        auto found = detail::credential_of(root.text_of("Username"), root.text_of("Secret"), name);
        return found.empty() ? std::nullopt : std::optional{std::move(found)};
    } catch (format_error const& found) {
        throw fail("its answer is not what the protocol says: " + found.reason());
    }
}

} // namespace shiplap
