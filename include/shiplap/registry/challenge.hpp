#pragma once
// challenge: what a server wants to see before it answers, from its WWW-Authenticate headers (RFC 9110, 11.6.1).
//
//     Bearer realm="https://auth.r.io/token",service="r.io",scope="repository:app:pull,push", Basic realm="r.io"
//
// One header may name several schemes and several headers may come; both give one list. Values that are not quoted
// may hold more than the grammar allows, an address for instance, as some servers send them.

#include <shiplap/error.hpp>
#include <shiplap/registry/http.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Bytes of all WWW-Authenticate headers of one response that are read.
inline constexpr std::size_t max_challenge_size = 64 * 1024;

/// One way to authenticate that a server offers.
struct challenge {
    std::string scheme;                                            ///< lower case: "basic", "bearer"
    std::vector<std::pair<std::string, std::string>> parameters{}; ///< names in lower case, values unquoted
    std::string token68{}; ///< what some schemes have instead of parameters

    /// The parameter of that name (in lower case), or null.
    [[nodiscard]] std::string const* find(std::string_view name) const noexcept {
        for (auto const& [key, value] : parameters)
            if (key == name) return &value;
        return nullptr;
    }
    /// The same, or "".
    [[nodiscard]] std::string get(std::string_view name) const {
        auto const* const found = find(name);
        return found == nullptr ? std::string{} : *found;
    }
};

namespace detail {

class challenge_parser {
  public:
    explicit challenge_parser(std::string_view text) : text_{text} {}

    void read(std::vector<challenge>& into) {
        challenge* current = nullptr;
        for (skip(" \t,"); at_ < text_.size(); skip(" \t,")) {
            auto name = lower(word());
            if (name.empty()) refuse("a name is missing");
            auto const behind = at_;
            skip(" \t");
            if (next() == '=' && current != nullptr) {
                ++at_;
                skip(" \t");
                if (current->find(name) != nullptr) refuse("the parameter '" + name + "' comes twice");
                current->parameters.emplace_back(std::move(name), next() == '"' ? quoted() : plain());
            } else if (at_ < text_.size() && next() != ',' && at_ == behind) {
                refuse("neither a scheme nor a parameter");
            } else {
                current = &into.emplace_back(challenge{std::move(name)});
                current->token68 = token68();
            }
        }
    }

  private:
    [[nodiscard]] char next() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip(std::string_view blanks) noexcept {
        at_ = std::min(text_.find_first_not_of(blanks, at_), text_.size());
    }

    std::string_view take(std::size_t end) noexcept {
        end = std::min(end, text_.size());
        auto const found = text_.substr(at_, end - at_);
        at_ = end;
        return found;
    }
    std::string_view word() noexcept { return take(text_.find_first_not_of(token, at_)); }
    std::string plain() { return std::string{take(text_.find_first_of(" \t,", at_))}; }

    std::string quoted() {
        std::string value;
        for (++at_; at_ < text_.size(); ++at_) {
            char c = text_[at_];
            if (c == '"') {
                ++at_;
                return value;
            }
            if (c == '\\') {
                if (++at_ == text_.size()) break;
                c = text_[at_];
            }
            value += c;
        }
        refuse("a quoted value does not end");
    }

    // Only what ends the challenge: "a=" may start a parameter, too.
    std::string token68() {
        auto const start = at_;
        take(text_.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/",
                                     at_));
        if (at_ != start) skip("=");
        auto const found = text_.substr(start, at_ - start);
        skip(" \t");
        if (!found.empty() && (at_ == text_.size() || next() == ',')) return std::string{found};
        at_ = start;
        return {};
    }

    static std::string lower(std::string_view text) {
        std::string out{text};
        for (auto& c : out)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return out;
    }

    [[noreturn]] void refuse(std::string const& reason) const {
        throw format_error{"parse WWW-Authenticate", "", reason + " (at offset " + std::to_string(at_) + ")"};
    }

    static constexpr std::string_view token =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    std::string_view text_;
    std::size_t at_ = 0;
};

} // namespace detail

/// All challenges of the headers with these values, in their order. Throws format_error for values that cannot be
/// understood in one way, and for more than max_challenge_size.
inline std::vector<challenge> parse_challenges(std::vector<std::string> const& values) {
    std::size_t size = 0;
    std::vector<challenge> found;
    for (auto const& value : values) {
        size += value.size();
        if (size > max_challenge_size)
            throw format_error{"parse WWW-Authenticate", "",
                               "larger than the limit of " + std::to_string(max_challenge_size) + " bytes"};
        detail::challenge_parser{value}.read(found);
    }
    return found;
}

inline std::vector<challenge> parse_challenges(http_headers const& headers) {
    return parse_challenges(headers.all("WWW-Authenticate"));
}

} // namespace shiplap
