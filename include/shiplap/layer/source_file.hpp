#pragma once
// The content of one source file, exactly as long as its tar header says. A file that another process writes
// to meanwhile must not end up in a layer half old and half new: its facts are compared when it is opened and
// again after its last byte, and any difference is an error{source_changed} that names the path.

#include <shiplap/layer/walk.hpp>

namespace shiplap {

/// A byte_source of exactly the `expected.st_size` bytes of a regular file.
class source_file {
  public:
    /// Opens `name` in the directory `folder`; `expected` is what a look at it said before, `path` is for
    /// messages. Throws system_error if it cannot be opened, error{source_changed} if it is another file by
    /// now.
    source_file(int folder, char const* name, struct ::stat const& expected, std::string path)
        : path_{std::move(path)}, expected_{expected}, left_{static_cast<std::uint64_t>(expected.st_size)} {
        // O_NONBLOCK: should a fifo have taken the file's place, opening it must not wait for a writer.
        fd_ = unique_fd{detail::retry_interrupted([&] {
            return ::openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        })};
        if (!fd_ && errno == ELOOP) detail::throw_changed(path_); // a symbolic link took its place
        if (!fd_) throw system_error{"read", path_, errno};
        check();
    }

    /// Throws error{source_changed} if the file ends early, and with its last byte if it has changed.
    std::size_t read(bytes_span into) {
        if (left_ < into.size()) into = into.first(static_cast<std::size_t>(left_));
        if (into.empty()) return 0;
        auto const n = detail::retry_interrupted([&] { return ::read(fd_.get(), into.data(), into.size()); });
        if (n < 0) throw system_error{"read", path_, errno};
        if (n == 0) detail::throw_changed(path_);
        left_ -= static_cast<std::uint64_t>(n);
        if (left_ == 0) check();
        return static_cast<std::size_t>(n);
    }

    [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  private:
    void check() const {
        if (!detail::untouched(expected_, detail::stat_open(fd_.get(), path_))) detail::throw_changed(path_);
    }

    std::string path_;
    struct ::stat expected_;
    std::uint64_t left_;
    unique_fd fd_;
};

} // namespace shiplap
