#pragma once
// Runs a piece of a test without the privileges of root, whoever runs the tests.

#include <shiplap/error.hpp>

#include "support/temp.hpp"

#include <exception>
#include <string>

#include <grp.h>
#include <sys/wait.h>
#include <unistd.h>

/// Gives a directory to the user that run_unprivileged() becomes.
inline void hand_over(std::string const& path) {
    if (::geteuid() == 0 && ::chown(path.c_str(), 65534, 65534) != 0)
        throw shiplap::system_error{"chown", path, errno};
}

/// What `work` throws, as text, or "". Root runs it in a child process as nobody.
template <class Work>
std::string run_unprivileged(Work work) {
    auto const attempt = [&]() -> std::string {
        try {
            work();
            return {};
        } catch (std::exception const& failure) {
            return failure.what();
        } catch (...) { // Catch2's own
            return "a check failed";
        }
    };
    if (::geteuid() != 0) return attempt();
    int ends[2];
    if (::pipe(ends) != 0) throw shiplap::system_error{"pipe", "", errno};
    auto const child = ::fork();
    if (child == 0) {
        bool const changed = ::setgroups(0, nullptr) == 0 && ::setresgid(65534, 65534, 65534) == 0 &&
                             ::setresuid(65534, 65534, 65534) == 0;
        auto const text = changed ? attempt() : std::string{"cannot change the user"};
        auto const written = ::write(ends[1], text.data(), text.size());
        ::_exit(written == static_cast<::ssize_t>(text.size()) ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[1024];
    for (::ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    ::close(ends[0]);
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) throw shiplap::system_error{"fork", "", errno};
    return status == 0 || !text.empty() ? text : "the child process died";
}
