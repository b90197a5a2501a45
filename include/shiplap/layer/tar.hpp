#pragma once
// tar_layer: a tar archive becomes a layer. It may be packed with gzip or zstd, and come from a file or,
// once, from a stream.
//
//     tar_layer{"rootfs.tar.gz"}
//     tar_layer{stream_reader{STDIN_FILENO, "standard input"}, "standard input"}
//
// The bytes of the archive pass as they are, so that the diff_id is the digest of that very tar; they are
// parsed on the way, and what is no whole and harmless archive is refused: truncated, without its end marker,
// with names that lead out of the root. Where timestamps have to change, those alone do (tar/retimer.hpp), and
// the padding at the end is dropped.

#include <shiplap/codec/decode.hpp>
#include <shiplap/layer/concept.hpp>
#include <shiplap/layer/walk.hpp>
#include <shiplap/tar/retimer.hpp>
#include <shiplap/tar/scanner.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <array>
#include <memory>

namespace shiplap {

namespace detail {

/// A file that is read from front to end and must not change meanwhile. Also for named pipes and devices,
/// which have no facts to compare.
class watched_file {
  public:
    explicit watched_file(std::string path) : path_{std::move(path)} {
        if (path_.empty()) throw option_error{"read tar", "", "needs the name of a file, got an empty one"};
        fd_ = open_file(path_, O_RDONLY);
        facts_ = stat_open(fd_.get(), path_);
        if (S_ISDIR(facts_.st_mode)) throw system_error{"read", path_, EISDIR};
    }

    std::size_t read(bytes_span into) {
        auto const n = retry_interrupted([&] { return ::read(fd_.get(), into.data(), into.size()); });
        if (n < 0) throw system_error{"read", path_, errno};
        return static_cast<std::size_t>(n);
    }

    /// Throws error{source_changed}.
    void check() const {
        if (S_ISREG(facts_.st_mode) && !untouched(facts_, stat_open(fd_.get(), path_))) throw_changed(path_);
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(facts_.st_size); }

  private:
    std::string path_;
    unique_fd fd_;
    struct ::stat facts_ {};
};

/// What is wrong with the name of an entry, or the target of a hard link; empty if nothing is.
inline std::string_view fault_of_name(std::string_view name) noexcept {
    if (name.empty()) return "is empty";
    if (name.front() == '/') return "is absolute";
    while (!name.empty()) {
        auto const component = name.substr(0, name.find('/'));
        if (component == "..") return "leads out of the root";
        name.remove_prefix(std::min(name.size(), component.size() + 1));
    }
    return {};
}

/// Throws unless an archive may have this entry; `archive` names it in messages.
inline void check_entry(tar_entry const& entry, std::string const& archive, std::uint64_t offset) {
    auto const refuse = [&](std::string_view what, std::string_view fault) {
        throw error{error_code::unsafe_entry, "read tar", archive,
                    "entry '" + printable(entry.name) + "' at offset " + std::to_string(offset) + ": " +
                        std::string{what} + " " + std::string{fault}};
    };
    if (auto const fault = fault_of_name(entry.name); !fault.empty()) refuse("its name", fault);
    if (entry.type == entry_type::hard_link)
        if (auto const fault = fault_of_name(entry.link_name); !fault.empty())
            refuse("the target '" + printable(entry.link_name) + "' of the hard link", fault);
    try {
        static_cast<void>(classify_whiteout(entry.name)); // throws if it is a malformed one
    } catch (error& problem) {
        problem.within("'" + printable(archive) + "', offset " + std::to_string(offset));
        throw;
    }
}

/// Does what reads `archive`: decoders do not know where their bytes come from.
template <class Action>
auto naming_archive(std::string const& archive, Action action) {
    try {
        return action();
    } catch (error& problem) {
        if (problem.subject() != archive) problem.within("'" + printable(archive) + "'");
        throw;
    }
}

/// Moves an archive, which `name` names, into a layer. Throws unless it is whole and harmless.
template <byte_source In, byte_sink Out>
void pass_archive(In& plain, std::string const& name, Out& out, layer_context const& context) {
    tar_scanner scanner{name};
    bool const keeps = context.time.keeps();
    tar_retimer retimer{context.time.rule()};

    std::unique_ptr<std::byte[]> space; // made if `out` lends nothing, or not the bytes that it gets
    for (;;) {
        bytes_span buffer{};
        if constexpr (lending_sink<Out>)
            if (keeps) buffer = out.room();
        bool const lent = !buffer.empty();
        if (!lent && !space) space = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
        if (!lent) buffer = {space.get(), transfer_size};
        auto const n = naming_archive(name, [&] { return plain.read(buffer); });
        if (n == 0) break;
        for (bytes_view rest = buffer.first(n); !rest.empty();) {
            auto const before = rest;
            auto const event = scanner.next(rest);
            if (event == tar_scanner::event::entry) {
                check_entry(scanner.entry(), name, scanner.entry_offset());
                static_cast<void>(context.time(scanner.entry().mtime)); // the policy may take note of it
            }
            if (!keeps) retimer.pass(before.first(before.size() - rest.size()), event, scanner, out);
        }
        if constexpr (lending_sink<Out>)
            if (lent) {
                out.filled(n);
                continue;
            }
        if (keeps) out.write(buffer.first(n));
    }
    scanner.finish();
    if (!scanner.at_end_marker())
        throw format_error{"read tar", name,
                           "truncated: ends at offset " + std::to_string(scanner.offset()) +
                               " without the two zero blocks that end an archive"};
    if (!keeps) retimer.finish(out);
}

} // namespace detail

class tar_layer {
  public:
    /// A file; opened by write_tar().
    explicit tar_layer(std::string path) : name_{std::move(path)} {}
    /// A stream, which can be packed once; `name` is for messages.
    tar_layer(any_byte_source stream, std::string name)
        : name_{std::move(name)},
          stream_{std::make_shared<std::optional<any_byte_source>>(std::move(stream))} {}

    /// The archive, unpacked. Throws format_error, or an error of code unsafe_entry, if it is not a tar that
    /// can be a layer; source_changed if the file is modified meanwhile; unsupported if a stream is read
    /// again.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        if (stream_) {
            if (!*stream_)
                throw error{error_code::unsupported, "read tar", name_,
                            "is a stream and can be packed only once"};
            return pass(std::exchange(*stream_, std::nullopt).value(), out, context);
        }
        detail::watched_file file{name_};
        pass(byte_source_ref{file}, out, context);
        file.check();
    }

    /// The size of a plain tar file; 0, which no tar has, where that is not known beforehand.
    [[nodiscard]] std::uint64_t estimated_size() const {
        struct ::stat facts {};
        if (stream_ || (::stat(name_.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)))
            return 0; // opening a pipe would take it from who reads it later
        detail::watched_file file{name_};
        std::array<std::byte, 8> head{};
        auto const n = read_fully(file, head);
        return sniff_encoding(bytes_view{head}.first(n)).empty() ? file.size() : 0;
    }

    [[nodiscard]] std::string description() const { return "tar:" + name_; }

  private:
    template <byte_sink Out>
    void pass(any_byte_source packed, Out& out, layer_context const& context) const {
        auto plain = detail::naming_archive(name_, [&] { return decode_any(std::move(packed)); });
        detail::pass_archive(plain, name_, out, context);
    }

    std::string name_;
    std::shared_ptr<std::optional<any_byte_source>> stream_; // none: name_ is the path of a file
};

} // namespace shiplap
