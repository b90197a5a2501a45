#pragma once
// request_body: hands out the bytes of an http_body, exactly as many as were announced.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>
#include <shiplap/registry/http.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace shiplap::detail {

class request_body {
  public:
    request_body() = default; ///< no bytes
    explicit request_body(http_body const& body) : body_{body} { restart(); }

    /// Back to the first byte. Throws what the source throws, or error (source_changed) if it ends before the offset.
    void restart() {
        if (!body_) return;
        left_ = body_->size;
        body_->from.rewind();
        std::array<std::byte, 16 * 1024> unwanted; // NOLINT(cppcoreguidelines-pro-type-member-init)
        for (auto skip = body_->offset; skip != 0;) {
            auto const piece = static_cast<std::size_t>(std::min<std::uint64_t>(skip, unwanted.size()));
            auto const n = body_->from.read(bytes_span{unwanted}.first(piece));
            if (n == 0) throw too_short();
            skip -= n;
        }
    }

    /// Fills `into` as far as there are bytes. Throws what the source throws, or error (source_changed).
    std::size_t read(bytes_span into) {
        if (left_ == 0) return 0;
        if (!body_) throw error{error_code::io, "read", "request body", "its owner has taken it back"};
        into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_)));
        auto const n = read_fully(body_->from, into);
        left_ -= n;
        touched_ = true;
        if (n != into.size()) throw too_short();
        return n;
    }

    /// Touches the source never again.
    void release() noexcept { body_.reset(); }

    [[nodiscard]] std::uint64_t left() const noexcept { return left_; }
    /// Some of it was handed out, now or before a restart.
    [[nodiscard]] bool touched() const noexcept { return touched_; }

  private:
    [[nodiscard]] error too_short() const {
        return {error_code::source_changed, "read", "request body",
                "it ended " + std::to_string(left_) + " bytes too early"};
    }

    std::optional<http_body> body_;
    std::uint64_t left_ = 0; // bytes
    bool touched_ = false;
};

} // namespace shiplap::detail
