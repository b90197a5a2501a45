#pragma once
// upload_journal: where unfinished uploads stand, on disk, so that a push whose process was killed goes on instead of
// starting anew. One small file for each upload under way, removed with its end:
//
//     FOLDER/uploads/<sha256 of registry, repository and digest>.json      mode 0600: a location may hold secrets
//
// An entry is for the same user on the same machine; anything else in its place is ignored. While a process works on
// an upload it holds a lock on the entry: a second process with the same blob makes an upload of its own.

#include <shiplap/bytes/file.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/registry/repository.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

class upload_journal {
  public:
    /// In `folder`, which is made when it is needed. An empty name: nothing is remembered.
    explicit upload_journal(std::string folder = {}) : folder_{std::move(folder)} {}

    /// The record of one upload; held by one at a time.
    class entry {
      public:
        entry(unique_fd fd, std::string path, nlohmann::json key)
            : fd_{std::move(fd)}, path_{std::move(path)}, key_{std::move(key)} {}

        /// What was kept, by whomever it was.
        [[nodiscard]] std::optional<upload_session> session() const {
            std::string text(max_size, '\0');
            auto const size = ::pread(fd_.get(), text.data(), text.size(), 0);
            if (size <= 0) return std::nullopt;
            text.resize(static_cast<std::size_t>(size));
            auto const kept = nlohmann::json::parse(text, nullptr, false);
            if (!kept.is_object() || kept.value("key", nlohmann::json{}) != key_) return std::nullopt;
            auto const location = kept.find("location"), least = kept.find("minChunk");
            if (location == kept.end() || !location->is_string() || least == kept.end() ||
                !least->is_number_unsigned())
                return std::nullopt;
            try {
                return upload_session{url::parse(location->get<std::string>()), least->get<std::uint64_t>()};
            } catch (format_error const&) {
                return std::nullopt;
            }
        }

        void keep(upload_session const& session) {
            auto text = in_json(
                {{"key", key_}, {"location", session.location.text()}, {"minChunk", session.min_chunk}});
            if (text.size() > max_size) text.clear(); // nothing that makes sense is that long
            // Cut off by a kill it is no JSON, and counts for nothing.
            if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0)
                throw system_error{"write", path_, errno};
            detail::write_fully(fd_.get(), as_bytes(text), path_);
        }

        /// The upload has ended.
        void forget() noexcept { ::unlink(path_.c_str()); }

      private:
        static constexpr std::size_t max_size = 32 * 1024;

        unique_fd fd_; // closing it releases the lock
        std::string path_;
        nlohmann::json key_;
    };

    /// None if nothing is to be remembered, or somebody else is at it.
    [[nodiscard]] std::optional<entry> open(origin const& registry, std::string const& repository,
                                            digest const& which) const {
        if (folder_.empty()) return std::nullopt;
        auto const folder = folder_ + "/uploads";
        std::error_code problem;
        if (std::filesystem::create_directories(folder, problem); problem)
            throw system_error{"make directory", folder, problem.value()};
        ::chmod(folder.c_str(), 0700);

        char machine[256] = "";
        ::gethostname(machine, sizeof machine - 1);
        nlohmann::json key{registry.text(), repository, which.text(), machine, ::geteuid()};
        auto path =
            folder + "/" + std::string{digest::of<sha256>(as_bytes(in_json(key))).encoded()} + ".json";
        for (;;) {
            unique_fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)};
            if (!fd && (errno == ELOOP || errno == EISDIR || errno == ENXIO)) return std::nullopt;
            if (!fd) throw system_error{"write", path, errno};
            if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
            struct ::stat held {
            }, there{};
            if (::fstat(fd.get(), &held) != 0) throw system_error{"read", path, errno};
            if (!S_ISREG(held.st_mode) || held.st_uid != ::geteuid()) return std::nullopt;
            // Between the two calls another process may have finished, and removed it.
            if (::stat(path.c_str(), &there) != 0 || held.st_dev != there.st_dev ||
                held.st_ino != there.st_ino)
                continue;
            ::fchmod(fd.get(), 0600);
            return entry{std::move(fd), std::move(path), std::move(key)};
        }
    }

  private:
    // A registry may put any bytes into a location.
    static std::string in_json(nlohmann::json const& value) {
        return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }

    std::string folder_;
};

} // namespace shiplap
