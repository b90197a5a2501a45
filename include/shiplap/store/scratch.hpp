#pragma once
// scratch_store: blobs on disk without a name. Where packed layers wait until a sink that is no store itself,
// an archive or a registry, has taken them.
//
// Every blob is a staged_file that stays open: nothing of it remains after its owner, not even when the
// process is killed (on file systems without O_TMPFILE a killed process leaves hidden files). One open file
// per blob counts against the process's limit (ulimit -n).

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/store/concept.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace shiplap {

class scratch_store {
    struct state {
        std::mutex mutex;
        std::map<digest, staged_file> blobs;
    };

  public:
    class writer {
      public:
        writer(state& store, std::string const& folder, staging purpose)
            : store_{&store}, file_{folder, purpose} {}
        void write(bytes_view in) { file_.write(in); }
        void commit(content_facts const& facts) {
            std::lock_guard const lock{store_->mutex};
            store_->blobs.insert_or_assign(facts.digest, std::move(file_));
        }

      private:
        state* store_;
        staged_file file_;
    };

    /// Blobs lie on the file system of `folder`, which must exist by the time of open().
    explicit scratch_store(std::string folder) : folder_{std::move(folder)} {}

    [[nodiscard]] writer open() { return {*state_, folder_, staging::scratch}; }
    /// A blob on the file system of another folder, where it will be published.
    [[nodiscard]] writer open(std::string const& folder) { return {*state_, folder, staging::publication}; }

    [[nodiscard]] bool contains(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        return state_->blobs.contains(which);
    }

    /// Such a blob is here. Its bytes were hashed on their way in, and nobody else has a name for them.
    [[nodiscard]] bool owns(content_facts const& what) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(what.digest);
        return found != state_->blobs.end() && found->second.size() == what.size;
    }

    /// Reads independently of all other readers, and even after the store is gone.
    [[nodiscard]] file_reader reader(digest const& which) const {
        if (auto found = find(which)) return std::move(*found);
        throw error{error_code::not_found, "read blob", which.text(), "not among the staged blobs"};
    }

    /// As reader(), but nothing if there is no such blob.
    [[nodiscard]] std::optional<file_reader> find(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(which);
        if (found == state_->blobs.end()) return {};
        return found->second.reader();
    }

    /// Takes all blobs out of the store: for who publishes them.
    [[nodiscard]] std::map<digest, staged_file> take() {
        std::lock_guard const lock{state_->mutex};
        return std::exchange(state_->blobs, {});
    }

  private:
    std::string folder_;
    std::unique_ptr<state> state_ = std::make_unique<state>(); // stays where it is when the store is moved
};

} // namespace shiplap
