#pragma once
// A server on 127.0.0.1 that does to each connection what a function says, for answers that no sane server gives.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

/// One accepted connection. Failures end the conversation quietly: the client's view is what is tested.
class scripted_connection {
  public:
    explicit scripted_connection(shiplap::unique_fd fd) : fd_{std::move(fd)} {}

    /// The head of the next request with its blank line; what follows is kept. Empty: the client has gone.
    std::string head() {
        for (;;) {
            if (auto const end = rest_.find("\r\n\r\n"); end != std::string::npos) {
                auto text = rest_.substr(0, end + 4);
                rest_.erase(0, end + 4);
                return text;
            }
            if (!more()) return {};
        }
    }
    /// Up to `size` bytes of a body.
    std::string body(std::size_t size) {
        while (rest_.size() < size && more()) {
        }
        auto text = rest_.substr(0, size);
        rest_.erase(0, text.size());
        return text;
    }
    /// False: the client has gone.
    bool say(std::string_view text) {
        while (!text.empty()) {
            auto const n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    /// Closes with a reset at once, whatever is under way.
    void reset() {
        ::linger const now{1, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        fd_ = shiplap::unique_fd{};
    }
    /// Until the client closes, or half a minute is over.
    void wait_for_end() {
        while (more()) rest_.clear();
    }
    [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  private:
    bool more() {
        ::pollfd one{fd_.get(), POLLIN, 0};
        if (::poll(&one, 1, 30'000) <= 0) return false;
        char buffer[64 * 1024];
        auto const n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
        if (n <= 0) return false;
        rest_.append(buffer, static_cast<std::size_t>(n));
        return true;
    }

    shiplap::unique_fd fd_;
    std::string rest_;
};

class scripted_server {
  public:
    /// `talk` is called on a thread of its own for each connection, with its number from 0 on.
    explicit scripted_server(std::function<void(scripted_connection&, unsigned)> talk, int receive_buffer = 0)
        : talk_{std::move(talk)}, listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        if (receive_buffer != 0)
            ::setsockopt(listener_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
        ::sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const generic = reinterpret_cast<::sockaddr*>(&address);
        ::socklen_t size = sizeof address;
        if (::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), 16) != 0 ||
            ::getsockname(listener_.get(), generic, &size) != 0)
            throw shiplap::system_error{"listen", "127.0.0.1", errno};
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread{[this] { accept(); }};
    }
    scripted_server(scripted_server const&) = delete;
    scripted_server& operator=(scripted_server const&) = delete;
    ~scripted_server() {
        stop_ = true;
        ::shutdown(listener_.get(), SHUT_RDWR);
        acceptor_.join();
        for (auto& one : talks_) one.join();
    }

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] unsigned connections() const noexcept { return connections_; }
    [[nodiscard]] std::string address(std::string_view path = "/") const {
        return "http://127.0.0.1:" + std::to_string(port_) + std::string{path};
    }

  private:
    void accept() {
        for (;;) {
            shiplap::unique_fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (stop_ || !fd) return;
            auto const number = connections_++;
            talks_.emplace_back([this, number, connection = scripted_connection{std::move(fd)}]() mutable {
                talk_(connection, number);
            });
        }
    }

    std::function<void(scripted_connection&, unsigned)> talk_;
    shiplap::unique_fd listener_;
    std::uint16_t port_ = 0;
    std::atomic<unsigned> connections_ = 0;
    std::atomic<bool> stop_ = false;
    std::vector<std::thread> talks_;
    std::thread acceptor_;
};
