#pragma once
// blob_lease: how a process says that it relies on a blob that no image names, or not for long.
//
// An export finds blobs in the layout that it need not write, and enters in index.json much later what refers to them.
// Meanwhile it keeps those files open with a shared lock (flock) on each. Who removes a blob takes the exclusive lock
// first and leaves alone what it cannot get. Nothing is written for that, so nothing remains of a killed process.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <cerrno>
#include <string>

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap::detail {

/// Takes the lease of an open blob, which lasts as long as the file is open. False if the blob was removed before.
inline bool lease_blob(file_reader const& blob) {
    // A file system without such locks lets publish() find out what was removed.
    (void)retry_interrupted([&] { return ::flock(blob.descriptor(), LOCK_SH); });
    struct ::stat facts {};
    if (::fstat(blob.descriptor(), &facts) != 0) throw system_error{"read", blob.path(), errno};
    return facts.st_nlink != 0;
}

/// Removes the blob at `path`, or with `only_try` just says whether it would. False if somebody has a lease of it.
inline bool remove_unleased(std::string const& path, bool only_try) {
    auto const file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (retry_interrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
        if (errno == EWOULDBLOCK) return false;
        throw system_error{"lock", path, errno};
    }
    if (!only_try && ::unlink(path.c_str()) != 0) throw system_error{"remove", path, errno};
    return true;
}

} // namespace shiplap::detail
