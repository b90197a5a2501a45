#pragma once
// What can go wrong, and how it is told: one exception type to catch, children for what users catch apart.
//
// Every error names the operation, the subject (a path, digest, option or URL) and the reason, in that order:
//     read 'etc/shadow': Permission denied
// Callers add context outward with `within`; nothing is ever swallowed.

#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

enum class error_code {
    option,          ///< the caller asked for something that is not offered; nothing was started
    io,              ///< the operating system refused: see system_error::number()
    format,          ///< bytes that should follow a specification do not
    digest_mismatch, ///< bytes are not those that their descriptor promises
    not_found,       ///< a blob, image or name does not exist
    source_changed,  ///< an input was modified while it was read
    unsafe_entry,    ///< an archive entry would leave the directory it is extracted to
    unsupported,     ///< a valid input that cannot be expressed in the target format
    registry,        ///< a registry answered with a refusal: see registry_error
    network,         ///< a registry gave no whole answer: see transport_error
};

/// Text from outside made safe for a terminal and a log: control bytes and invalid UTF-8 become \xNN.
inline std::string printable(std::string_view text) {
    static constexpr char hex[] = "0123456789abcdef";
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        auto const c = static_cast<unsigned char>(text[i]);
        std::size_t const length = c < 0x80                ? 1
                                   : c >= 0xc2 && c < 0xe0 ? 2
                                   : c >= 0xe0 && c < 0xf0 ? 3
                                   : c >= 0xf0 && c < 0xf5 ? 4
                                                           : 0;
        bool whole = length != 0 && i + length <= text.size() && c >= 0x20 && c != 0x7f;
        for (std::size_t k = 1; whole && k < length; ++k)
            whole = (static_cast<unsigned char>(text[i + k]) & 0xc0u) == 0x80u;
        if (whole && length > 1) { // C1 controls, overlong forms, surrogates, beyond U+10FFFF
            auto const second = static_cast<unsigned char>(text[i + 1]);
            unsigned const least = c == 0xc2 || c == 0xe0 ? 0xa0u : c == 0xf0 ? 0x90u : 0x80u;
            unsigned const most = c == 0xed ? 0x9fu : c == 0xf4 ? 0x8fu : 0xbfu;
            whole = least <= second && second <= most;
        }
        if (whole) {
            out.append(text.substr(i, length));
            i += length;
        } else {
            out += {'\\', 'x', hex[c >> 4], hex[c & 15]};
            ++i;
        }
    }
    return out;
}

/// The base of all that shiplap throws.
class error : public std::exception {
  public:
    error(error_code code, std::string operation, std::string subject, std::string reason)
        : code_{code},
          operation_{std::move(operation)},
          subject_{std::move(subject)},
          reason_{std::move(reason)} {
        compose();
    }

    [[nodiscard]] error_code code() const noexcept { return code_; }
    /// What was attempted, as a verb: "read", "parse reference".
    [[nodiscard]] std::string const& operation() const noexcept { return operation_; }
    /// What it was attempted on, unescaped: a path, a digest, an option.
    [[nodiscard]] std::string const& subject() const noexcept { return subject_; }
    [[nodiscard]] std::string const& reason() const noexcept { return reason_; }
    [[nodiscard]] char const* what() const noexcept override { return text_.c_str(); }

    /// Adds the outer activity, for instance "layer 2 (dir:app)", in front of the message.
    void within(std::string_view context) {
        context_.insert(0, std::string{context} + ": ");
        compose();
    }

  private:
    void compose() {
        text_ = context_ + operation_;
        if (!subject_.empty()) text_ += " '" + printable(subject_) + "'";
        text_ += ": " + reason_;
    }

    error_code code_;
    std::string operation_, subject_, reason_, context_, text_;
};

/// Wrong usage: an option, name or value that cannot be accepted. The command answers it with exit code 2.
struct option_error : error {
    option_error(std::string subject, std::string reason)
        : error{error_code::option, "option", std::move(subject), std::move(reason)} {}
    option_error(std::string operation, std::string subject, std::string reason)
        : error{error_code::option, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// Bytes that break their format; `reason` gives the place (offset, entry, JSON pointer) where it is known.
struct format_error : error {
    format_error(std::string operation, std::string subject, std::string reason)
        : error{error_code::format, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// Content that does not have the digest or size that was asked for.
struct digest_mismatch : error {
    digest_mismatch(std::string operation, std::string subject, std::string reason)
        : error{error_code::digest_mismatch, std::move(operation), std::move(subject), std::move(reason)} {}
};

/// A refusal of the operating system; number() is the errno value.
class system_error : public error {
  public:
    system_error(std::string operation, std::string path, int number)
        : error{error_code::io, std::move(operation), std::move(path), describe(number)}, number_{number} {}

    [[nodiscard]] int number() const noexcept { return number_; }

  private:
    static std::string describe(int number) {
        char text[128] = "";
        return ::strerror_r(number, text, sizeof text); // the GNU form: thread-safe, unlike strerror
    }

    int number_;
};

} // namespace shiplap
