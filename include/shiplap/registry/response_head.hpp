#pragma once
// response_head: status and headers of an answer, gathered line by line.

#include <shiplap/registry/http.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>

namespace shiplap::detail {

/// Takes lines as they come, with their ends. "100 Continue" and its like, which may come before the real answer, are
/// forgotten; so are trailers, and lines that are no header.
class response_head {
  public:
    static constexpr std::size_t limit = 256U << 10; ///< bytes of all headers

    void add(std::string_view line) {
        if (complete_) return;
        if (line.starts_with("HTTP/")) {
            *this = {};
            auto const digits = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
            std::from_chars(digits.data(), digits.data() + digits.size(), status_);
            return;
        }
        size_ += line.size();
        auto const text = trim(line);
        if ((line.starts_with(' ') || line.starts_with('\t')) && !text.empty()) { // the last one goes on
            pending_ += " ";
            pending_ += text;
            return;
        }
        std::string_view const whole{pending_};
        if (auto const colon = whole.find(':'); colon != whole.npos)
            if (auto const value = trim(whole.substr(colon + 1));
                http_headers::fits(whole.substr(0, colon), value))
                headers_.add(std::string{whole.substr(0, colon)}, std::string{value});
        pending_ = text;
        complete_ = text.empty() && status_ >= 200;
    }

    /// The blank line after the headers has come.
    [[nodiscard]] bool complete() const noexcept { return complete_; }
    [[nodiscard]] bool too_long() const noexcept { return size_ > limit; }
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] http_headers& headers() noexcept { return headers_; }

  private:
    static std::string_view trim(std::string_view text) noexcept {
        auto const first = std::min(text.find_first_not_of(" \t\r\n"), text.size());
        auto const last = text.find_last_not_of(" \t\r\n");
        return last == text.npos ? std::string_view{} : text.substr(first, last + 1 - first);
    }

    int status_ = 0;
    http_headers headers_;
    std::string pending_; // a line that may go on
    std::size_t size_ = 0;
    bool complete_ = false;
};

} // namespace shiplap::detail
