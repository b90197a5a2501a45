#pragma once
// The content of one source file, exactly as long as its tar header says. A file that another process writes
// to meanwhile must not end up in a layer half old and half new: its facts are compared when it is opened and
// again after its last byte, and any difference is an error{source_changed} that names the path.
//
// Holes of a sparse file are not read: their zeros are made here, at the speed of memory. A file system that
// cannot tell of holes says that there are none.

#include <shiplap/layer/walk.hpp>

namespace shiplap {

/// A byte_source of exactly the `item.facts.st_size` bytes of a regular file. Refers to `item` and `path`, which is
/// for messages.
class source_file {
  public:
    /// Reads the descriptor that the walk has opened, else opens the file. Throws system_error if that cannot be
    /// done, error{source_changed} if it is another file by now.
    source_file(tree_item const& item, source_label path)
        : path_{path},
          expected_{item.facts},
          fd_{item.opened},
          size_{static_cast<std::uint64_t>(item.facts.st_size)},
          data_end_{has_holes(item.facts) ? 0 : size_} {
        if (fd_ >= 0) return; // the facts are those at its opening
        own_ = unique_fd{detail::retry_interrupted(
            [&] { return ::openat(item.folder, item.name(), detail::file_flags); })};
        if (!own_ && errno == ELOOP) detail::throw_changed(path_); // a symbolic link took its place
        if (!own_) throw system_error{"read", path_.text(), errno};
        fd_ = own_.get();
        check();
    }

    /// Throws error{source_changed} if the file ends early, and with its last byte if it has changed.
    std::size_t read(bytes_span into) {
        if (into.empty() || at_ == size_) return 0;
        if (at_ == data_end_) find_data();
        bool const in_hole = at_ < data_begin_;
        auto const left = (in_hole ? data_begin_ : data_end_) - at_;
        if (left < into.size()) into = into.first(static_cast<std::size_t>(left));
        auto const n = in_hole ? zeros(into) : bytes(into);
        at_ += n;
        if (at_ == size_) check();
        return n;
    }

    [[nodiscard]] int descriptor() const noexcept { return fd_; }

  private:
    // Asking costs two system calls for each piece of data: only where blocks are missing and zeros are many.
    static bool has_holes(struct ::stat const& facts) noexcept {
        return facts.st_size >= smallest_sparse && facts.st_blocks < facts.st_size / 512;
    }

    // Sets data_begin_ and data_end_ to the next piece of data at or after at_.
    void find_data() {
        auto const limit = [this](::off_t found) {
            return std::min(static_cast<std::uint64_t>(found), size_);
        };
        auto const begin = ::lseek(fd_, static_cast<::off_t>(at_), SEEK_DATA);
        if (begin < 0 && errno != ENXIO && errno != EINVAL && errno != EOPNOTSUPP)
            throw system_error{"find data in", path_.text(), errno};
        bool const only_hole = begin < 0 && errno == ENXIO;
        data_begin_ = only_hole ? size_ : begin < 0 ? at_ : limit(begin);
        auto const end = begin < 0 ? ::off_t{-1} : ::lseek(fd_, begin, SEEK_HOLE);
        // A file that shrinks meanwhile may have no end to tell; its last byte or check() will.
        data_end_ = end > begin ? std::max(limit(end), data_begin_) : size_;
    }

    static std::size_t zeros(bytes_span into) noexcept {
        std::memset(into.data(), 0, into.size());
        return into.size();
    }

    std::size_t bytes(bytes_span into) const {
        auto const n = detail::retry_interrupted(
            [&] { return ::pread(fd_, into.data(), into.size(), static_cast<::off_t>(at_)); });
        if (n < 0) throw system_error{"read", path_.text(), errno};
        if (n == 0) detail::throw_changed(path_);
        return static_cast<std::size_t>(n);
    }

    void check() const {
        if (!detail::untouched(expected_, detail::stat_open(fd_, path_))) detail::throw_changed(path_);
    }

    static constexpr ::off_t smallest_sparse = 64 * 1024;

    source_label path_;
    struct ::stat const& expected_;
    unique_fd own_;
    int fd_;
    std::uint64_t size_, at_ = 0;
    std::uint64_t data_begin_ = 0, data_end_; // of the piece that holds at_ or comes next; at_ <= data_end_
};

} // namespace shiplap
