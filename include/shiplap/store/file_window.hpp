#pragma once
// file_window: part of a file as a replayable_source. How blobs that lie in an archive are read in place.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <unistd.h>

namespace shiplap {

namespace detail {

/// Fills `into` from `offset` on, less at the end of the file.
inline std::size_t read_at(file_reader const& file, std::uint64_t offset, bytes_span into) {
    std::size_t filled = 0;
    while (filled < into.size()) {
        auto const rest = into.subspan(filled);
        auto const n = retry_interrupted([&] {
            return ::pread(file.descriptor(), rest.data(), rest.size(),
                           static_cast<::off_t>(offset + filled));
        });
        if (n < 0) throw system_error{"read", file.path(), errno};
        if (n == 0) break;
        filled += static_cast<std::size_t>(n);
    }
    return filled;
}

} // namespace detail

/// Part of a file, as a replayable_source. Windows share the open file and nothing else.
class file_window {
  public:
    file_window(std::shared_ptr<file_reader const> file, std::uint64_t offset, std::uint64_t size)
        : file_{std::move(file)}, offset_{offset}, size_{size} {}

    /// Throws format_error if the file is shorter than it was.
    std::size_t read(bytes_span into) {
        auto const wanted = std::min<std::uint64_t>(into.size(), size_ - position_);
        if (wanted == 0) return 0;
        auto const n =
            detail::read_at(*file_, offset_ + position_, into.first(static_cast<std::size_t>(wanted)));
        if (n == 0)
            throw format_error{"read", file_->path(),
                               "truncated at offset " + std::to_string(offset_ + position_) +
                                   " while it was read"};
        position_ += n;
        return n;
    }
    void rewind() noexcept { position_ = 0; }

    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    std::shared_ptr<file_reader const> file_;
    std::uint64_t offset_, size_, position_ = 0;
};

} // namespace shiplap
