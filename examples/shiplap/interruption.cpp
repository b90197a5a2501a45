#include "interruption.hpp"

#include <array>
#include <atomic>
#include <csignal>

#include <poll.h>
#include <unistd.h>

namespace shiplap_command {

namespace {

std::atomic<int> noted{0};
std::atomic<bool> unwinds{false};
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free); // for the handler

void on_signal(int signal) {
    if (!unwinds) ::_exit(128 + signal);
    noted = signal;
}

} // namespace

void handle_signals() {
    for (auto const signal : std::array{SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction action {};
        if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN)
            continue; // as nohup wants it
        action = {};
        action.sa_handler = on_signal;
        action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
        ::sigaction(signal, &action, nullptr);
    }
    // A closed pipe and a file size limit shall be errors with a name, not a death.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

void begin_interruptible_work() {
    unwinds = true;
}

void check_interrupted() {
    if (auto const signal = noted.load(std::memory_order_relaxed); signal != 0) throw interrupted{signal};
}

std::size_t interruptible_input::read(shiplap::bytes_span into) {
    constexpr int milliseconds = 100; // a signal between the look at the note and the wait is seen after that
    struct ::pollfd waiting {
        fd_.get(), POLLIN, 0
    };
    do {
        check_interrupted();
    } while (::poll(&waiting, 1, milliseconds) <= 0);
    return from_.read(into);
}

} // namespace shiplap_command
