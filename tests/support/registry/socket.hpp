#pragma once
// Sockets of a server on 127.0.0.1: a listener on a free port, and connections that can be ended rudely.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace registry_test {

/// The peer is gone, or we broke off: nothing more to say on this connection.
struct connection_ended : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class listener {
  public:
    listener() : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const any = reinterpret_cast<sockaddr*>(&address);
        if (fd_ < 0 || ::bind(fd_, any, length) != 0 || ::listen(fd_, 256) != 0 ||
            ::getsockname(fd_, any, &length) != 0)
            throw std::system_error{errno, std::generic_category(), "listen on 127.0.0.1"};
        port_ = ntohs(address.sin_port);
    }
    listener(listener const&) = delete;
    listener& operator=(listener const&) = delete;
    ~listener() { ::close(fd_); }

    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }

    /// Waits for the next connection; nothing once stopped.
    [[nodiscard]] std::optional<int> accept() const {
        while (true) {
            auto const fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd >= 0) return fd;
            if (errno != EINTR && errno != ECONNABORTED) return std::nullopt;
        }
    }
    /// Ends accept() in another thread. New connections are refused from here on.
    void stop() const { ::shutdown(fd_, SHUT_RDWR); }

  private:
    int fd_;
    std::uint16_t port_ = 0;
};

class connection {
  public:
    explicit connection(int fd) : fd_{fd} {
        int const on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    connection(connection const&) = delete;
    connection& operator=(connection const&) = delete;
    ~connection() { ::close(fd_); }

    /// Up to `size` bytes; 0 when the peer ended or reset the connection.
    std::size_t read_some(char* to, std::size_t size) {
        if (!pending_.empty()) {
            auto const taken = std::min(size, pending_.size());
            pending_.copy(to, taken);
            pending_.erase(0, taken);
            return taken;
        }
        return receive(to, size);
    }
    /// One line without its CR LF. Nothing when the peer ended before it was whole, or it is longer than a line may be.
    std::optional<std::string> read_line(std::size_t limit = 128 * 1024) {
        while (true) {
            auto const end = pending_.find('\n');
            if (end != std::string::npos) {
                auto line = pending_.substr(0, end);
                pending_.erase(0, end + 1);
                if (!line.empty() && line.back() == '\r') line.pop_back();
                return line;
            }
            std::array<char, 16 * 1024> piece{};
            auto const count = pending_.size() > limit ? 0 : receive(piece.data(), piece.size());
            if (count == 0) return std::nullopt;
            pending_.append(piece.data(), count);
        }
    }
    /// Throws connection_ended when the peer does not take it.
    void send_all(std::string_view data) const {
        while (!data.empty()) {
            auto const sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0) throw connection_ended{"the peer does not read any more"};
            data.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    /// Little is taken in advance, so that the peer notices how slowly it is read.
    void read_little_ahead() const {
        int const size = 8 * 1024;
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    /// The connection will end with RST instead of FIN: what is on its way to the peer may be lost.
    void reset_on_close() const {
        linger const now{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    /// FIN, then what the peer still sends is thrown away for a while: closing with unread bytes would be a RST, and
    /// would take the answer with it.
    void close_gently(std::chrono::milliseconds patience = std::chrono::milliseconds{1000}) {
        ::shutdown(fd_, SHUT_WR);
        auto const until = std::chrono::steady_clock::now() + patience;
        std::array<char, 64 * 1024> waste{};
        while (std::chrono::steady_clock::now() < until) {
            pollfd wait{fd_, POLLIN, 0};
            if (::poll(&wait, 1, 50) < 0 && errno != EINTR) return;
            if (wait.revents != 0 && receive(waste.data(), waste.size()) == 0) return;
        }
    }
    /// True once the peer has ended the connection, whether or not there are bytes to be read.
    [[nodiscard]] bool peer_is_gone(std::chrono::milliseconds wait_for) const {
        pollfd wait{fd_, POLLRDHUP, 0};
        return ::poll(&wait, 1, static_cast<int>(wait_for.count())) > 0 && wait.revents != 0;
    }
    /// From another thread: whoever reads or writes here is woken, and fails.
    void interrupt() const { ::shutdown(fd_, SHUT_RDWR); }

  private:
    int fd_;
    std::string pending_; ///< read, and not yet asked for

    [[nodiscard]] std::size_t receive(char* to, std::size_t size) const {
        while (true) {
            auto const count = ::recv(fd_, to, size, 0);
            if (count < 0 && errno == EINTR) continue;
            return count < 0 ? 0 : static_cast<std::size_t>(count);
        }
    }
};

} // namespace registry_test
