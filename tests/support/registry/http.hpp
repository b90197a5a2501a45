#pragma once
// HTTP/1.1 on a connection: the head of a request, its body as a stream, and the answer.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/registry/record.hpp>
#include <support/registry/socket.hpp>
#include <support/registry/text.hpp>

namespace registry_test {

struct request_head {
    std::string method{};
    std::string target{};
    field_list headers{};
    std::vector<std::string> oddities{}; ///< what no correct client writes

    [[nodiscard]] std::string header(std::string_view name) const {
        auto const* const found = find_field(headers, name);
        return found == nullptr ? std::string{} : *found;
    }
};

inline bool has_control_character(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) {
        auto const byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && c != '\t') || byte == 0x7F;
    });
}

/// Nothing when the peer ended.
inline std::optional<request_head> read_head(connection& peer) {
    auto line = peer.read_line();
    if (!line) return std::nullopt;
    request_head head;
    auto const first = line->find(' ');
    auto const last = line->rfind(' ');
    if (first == std::string::npos || first == last || line->substr(last + 1) != "HTTP/1.1")
        head.oddities.push_back("the request line is not METHOD TARGET HTTP/1.1: " + *line);
    else
        head.target = line->substr(first + 1, last - first - 1);
    head.method = line->substr(0, first);
    if (head.target.find_first_of(" #") != std::string::npos || has_control_character(head.target))
        head.oddities.push_back("the target has a space, a fragment or a control character: " + head.target);

    while (true) {
        line = peer.read_line();
        if (!line) return std::nullopt;
        if (line->empty()) break;
        auto const colon = line->find(':');
        if (colon == std::string::npos || colon == 0 || line->find_first_of(" \t") < colon ||
            has_control_character(*line)) {
            head.oddities.push_back("a header line that is none: " + *line);
            continue;
        }
        head.headers.emplace_back(line->substr(0, colon), trimmed(std::string_view{*line}.substr(colon + 1)));
    }
    auto const repeated = [&](std::string_view name) {
        return std::count_if(head.headers.begin(), head.headers.end(),
                             [&](field const& one) { return same_text(one.first, name); }) > 1;
    };
    for (auto const* const name :
         {"Host", "Content-Length", "Content-Range", "Authorization", "Content-Type"})
        if (repeated(name)) head.oddities.push_back(std::string{"the header "} + name + " is there twice");
    if (head.header("Host").empty()) head.oddities.emplace_back("the header Host is missing");
    return head;
}

/// The body of a request, taken from the connection as it is asked for.
class body_reader {
  public:
    body_reader(connection& peer, request_head const& head)
        : peer_{&peer},
          chunked_{same_text(head.header("Transfer-Encoding"), "chunked")},
          announced_{parse_number(head.header("Content-Length"))},
          wants_continue_{same_text(head.header("Expect"), "100-continue")},
          left_{announced_.value_or(0)},
          done_{!chunked_ && left_ == 0} {}

    [[nodiscard]] bool chunked() const { return chunked_; }
    [[nodiscard]] std::optional<std::uint64_t> announced() const { return announced_; }
    [[nodiscard]] bool expected() const { return chunked_ || announced_.value_or(0) > 0; }
    [[nodiscard]] bool complete() const { return done_; }
    [[nodiscard]] std::uint64_t received() const { return received_; }
    /// The client still waits for leave to send its body.
    [[nodiscard]] bool held_back() const { return wants_continue_ && !done_; }

    /// The reader breaks off after that many bytes.
    void cut_after(std::uint64_t bytes) { cut_after_ = bytes; }
    /// Reads at most `piece` at a time, and calls `pace` after it with the size: to be slow.
    void pace_with(std::size_t piece, std::function<void(std::size_t)> pace) {
        piece_ = piece;
        pace_ = std::move(pace);
    }

    /// The next bytes; 0 at the end. Throws connection_ended when the peer, or a fault, ends it before.
    std::size_t read(char* to, std::size_t size) {
        if (cut_after_ && (received_ >= *cut_after_ || done_)) throw connection_ended{"cut by a fault"};
        if (done_) return 0;
        if (std::exchange(wants_continue_, false)) peer_->send_all("HTTP/1.1 100 Continue\r\n\r\n");
        if (chunked_ && left_ == 0 && !next_chunk()) return read(to, size);
        auto wanted = std::min<std::uint64_t>({size, piece_, left_});
        if (cut_after_) wanted = std::min(wanted, *cut_after_ - received_);
        auto const count = peer_->read_some(to, static_cast<std::size_t>(wanted));
        if (count == 0) throw connection_ended{"the body of the request is cut"};
        received_ += count;
        left_ -= count;
        if (left_ == 0) end_of_piece();
        if (pace_) pace_(count);
        return count;
    }
    /// All of it, for what is small.
    std::string read_all() {
        std::string content;
        each([&](std::string_view piece) { content.append(piece); });
        return content;
    }
    template <class Function>
    void each(Function use) {
        std::vector<char> piece(256 * 1024);
        while (auto const count = read(piece.data(), piece.size()))
            use(std::string_view{piece.data(), count});
    }

  private:
    connection* peer_;
    bool chunked_;
    std::optional<std::uint64_t> announced_;
    bool wants_continue_;
    std::uint64_t left_; ///< of the body, or of the present chunk
    bool done_;
    std::uint64_t received_ = 0;
    std::optional<std::uint64_t> cut_after_;
    std::size_t piece_ = std::numeric_limits<std::size_t>::max();
    std::function<void(std::size_t)> pace_;

    std::string line() {
        auto text = peer_->read_line();
        if (!text) throw connection_ended{"the body of the request is cut"};
        return *text;
    }
    void end_of_piece() {
        if (!chunked_)
            done_ = true;
        else
            line(); // the CR LF behind a chunk
    }
    /// False after the last chunk, whose trailers are passed over.
    bool next_chunk() {
        auto const header = line();
        auto const size = parse_number(trimmed(std::string_view{header}.substr(0, header.find(';'))), 16);
        if (!size) throw connection_ended{"a chunk without a size"};
        left_ = *size;
        if (left_ != 0) return true;
        while (!line().empty()) {
        }
        done_ = true;
        return false;
    }
};

/// What is answered. A body is either text, or a part of something stored.
struct reply {
    int status = 200;
    field_list headers{};
    std::string body{};
    std::shared_ptr<std::string const> stored{};
    std::size_t from = 0;
    std::size_t size = 0;                     ///< of the part of `stored`
    std::optional<std::uint64_t> announced{}; ///< Content-Length, where it is not the size of the body
    bool without_length = false;
    bool close = false;               ///< the connection ends after it
    bool close_silently = false;      ///< as before, without `Connection: close`
    bool cut = false;                 ///< the body is shorter than announced: the connection ends after it
    bool chunked_without_end = false; ///< sent in chunks, and the last one never comes
    std::size_t piece = 0;            ///< sent at once, with `pause` before the next; 0: all
    std::function<void()> pause{};
    std::function<void()> delivered{}; ///< called once the client has been sent all of it

    [[nodiscard]] std::string_view content() const {
        return stored ? std::string_view{*stored}.substr(from, size) : std::string_view{body};
    }
};

/// Clients have to do without reasons; people who look at the wire like them.
inline char const* reason_of(int status) {
    static constexpr std::pair<int, char const*> known[] = {
        {200, "OK"},         {201, "Created"},     {202, "Accepted"},
        {204, "No Content"}, {400, "Bad Request"}, {401, "Unauthorized"},
        {403, "Forbidden"},  {404, "Not Found"},   {429, "Too Many Requests"}};
    for (auto const& [code, reason] : known)
        if (code == status) return reason;
    return "Status";
}

inline void send_reply(connection const& peer, reply const& what, std::string_view method) {
    auto const content = what.content();
    auto const bodiless = what.status == 204 || what.status == 304;
    auto text = "HTTP/1.1 " + std::to_string(what.status) + " " + reason_of(what.status) + "\r\n";
    for (auto const& [name, value] : what.headers) text += name + ": " + value + "\r\n";
    if (what.chunked_without_end)
        text += "Transfer-Encoding: chunked\r\n";
    else if (!bodiless && !what.without_length)
        text += "Content-Length: " + std::to_string(what.announced.value_or(content.size())) + "\r\n";
    if (what.close && !what.close_silently) text += "Connection: close\r\n";
    text += "\r\n";
    if (what.cut && (method == "HEAD" || bodiless)) {
        peer.send_all(std::string_view{text}.substr(0, text.size() / 2)); // no body to cut: the head is
        return;
    }
    peer.send_all(text);
    if (method == "HEAD" || bodiless) return;
    for (auto rest = content; what.piece != 0 && !rest.empty();
         rest.remove_prefix(std::min(what.piece, rest.size()))) {
        peer.send_all(rest.substr(0, what.piece));
        what.pause();
    }
    if (what.piece != 0) return;
    if (!what.chunked_without_end) return peer.send_all(content);
    if (content.empty()) return;
    std::string size;
    for (auto left = content.size(); left > 0; left /= 16)
        size.insert(size.begin(), "0123456789abcdef"[left % 16]);
    peer.send_all(size + "\r\n");
    peer.send_all(content);
    peer.send_all("\r\n");
}

} // namespace registry_test
