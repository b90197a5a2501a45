#pragma once
// known_repositories: which repository of a registry has which blob, as far as earlier pushes and pulls have shown. A
// blob that is asked for in another repository of that registry can be mounted instead of uploaded.
//
//     FOLDER/repositories/<registry>.json      {"sha256:...": ["library/app", ...], ...}
//
// It may be wrong, for registries forget blobs: a mount that fails is followed by an upload. Used on several threads
// at once.

#include <shiplap/bytes/file.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/registry/url.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace shiplap {

class known_repositories {
  public:
    /// Remembered in `folder`, which is made when it is needed; an empty name: only as long as this lives.
    explicit known_repositories(std::string folder = {}) : folder_{std::move(folder)} {}

    void add(origin const& registry, std::string const& repository, digest const& which) {
        std::lock_guard const lock{mutex_};
        changed_[registry] |= load(registry)[which.text()].insert(repository).second;
    }

    /// Those that have the blob, apart from `target`: first the one whose path has most in common with it.
    [[nodiscard]] std::vector<std::string> having(origin const& registry, digest const& which,
                                                  std::string const& target) {
        std::lock_guard const lock{mutex_};
        auto const& blobs = load(registry);
        auto const found = blobs.find(which.text());
        if (found == blobs.end()) return {};
        std::vector<std::string> names;
        for (auto const& name : found->second)
            if (name != target) names.push_back(name);
        std::stable_sort(names.begin(), names.end(), [&](auto const& a, auto const& b) {
            return in_common(a, target) > in_common(b, target);
        });
        return names;
    }

    /// Writes down what is new. Another process may do so as well: both are kept.
    void save() {
        std::lock_guard const lock{mutex_};
        if (folder_.empty()) return;
        for (auto& [registry, changed] : changed_) {
            if (!changed) continue;
            std::error_code problem;
            if (std::filesystem::create_directories(folder(), problem); problem)
                throw system_error{"make directory", folder(), problem.value()};
            folder_lock const held{folder()};
            auto& blobs = blobs_[registry];
            merge(path_of(registry), blobs);
            auto document = nlohmann::json::object();
            for (auto const& [which, names] : blobs) document[which] = names;
            write_file(path_of(registry), document.dump());
            changed = false;
        }
    }

  private:
    using blob_map = std::map<std::string, std::set<std::string>>;
    static constexpr std::size_t max_size = 64 * 1024 * 1024;

    [[nodiscard]] std::string folder() const { return folder_ + "/repositories"; }
    [[nodiscard]] std::string path_of(origin const& registry) const {
        auto name = registry.authority();
        std::replace(name.begin(), name.end(), '/', '_');
        return folder() + "/" + name + ".json";
    }

    blob_map& load(origin const& registry) {
        auto const [found, added] = blobs_.try_emplace(registry);
        if (added && !folder_.empty()) merge(path_of(registry), found->second);
        return found->second;
    }

    // What cannot be understood is forgotten: it is no more than a hint.
    static void merge(std::string const& path, blob_map& into) {
        if (!std::filesystem::exists(path)) return;
        auto const document = nlohmann::json::parse(read_file(path, max_size), nullptr, false);
        if (!document.is_object()) return;
        for (auto const& [which, names] : document.items()) {
            if (!names.is_array()) continue;
            for (auto const& name : names)
                if (name.is_string()) into[which].insert(name.get<std::string>());
        }
    }

    /// Path components that both begin with.
    static std::size_t in_common(std::string_view a, std::string_view b) {
        std::size_t components = 0;
        for (std::size_t i = 0;; ++i) {
            bool const a_ends = i >= a.size() || a[i] == '/', b_ends = i >= b.size() || b[i] == '/';
            if (a_ends && b_ends) ++components;
            if (i >= a.size() || i >= b.size() || a[i] != b[i]) return components;
        }
    }

    std::string folder_;
    std::mutex mutex_;
    std::map<origin, blob_map> blobs_;
    std::map<origin, bool> changed_;
};

} // namespace shiplap
