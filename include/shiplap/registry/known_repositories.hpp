#pragma once
// known_repositories: which repository of a registry has which blob, as far as earlier pushes and pulls have shown. A
// blob that is asked for in another repository of that registry can be mounted instead of uploaded.
//
//     FOLDER/repositories/<registry>.json      [["sha256:...", "library/app"], ...]      the latest stand last
//
// It may be wrong, for registries forget blobs: a mount that fails is followed by an upload. Of each registry, the
// latest 20,000 are written down. Used on several threads at once.

#include <shiplap/bytes/file.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/registry/url.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
        auto& there = load(registry);
        pair const seen{which.text(), repository};
        there.changed |= there.blobs[seen.first].insert(repository).second;
        if (there.seen.insert(seen).second) there.in_order.push_back(seen);
    }

    /// Those that have the blob, apart from `target`: first the one whose path has most in common with it.
    [[nodiscard]] std::vector<std::string> having(origin const& registry, digest const& which,
                                                  std::string const& target) {
        std::lock_guard const lock{mutex_};
        auto const& blobs = load(registry).blobs;
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
        for (auto& [registry, there] : registries_) {
            if (!there.changed) continue;
            std::error_code problem;
            if (std::filesystem::create_directories(folder(), problem); problem)
                throw system_error{"make directory", folder(), problem.value()};
            folder_lock const held{folder()};
            auto pairs = read(path_of(registry));
            std::erase_if(pairs, [&seen = there.seen](pair const& one) { return seen.contains(one); });
            pairs.insert(pairs.end(), there.in_order.begin(), there.in_order.end());
            if (pairs.size() > most)
                pairs.erase(pairs.begin(), pairs.end() - static_cast<std::ptrdiff_t>(most));
            write_file(path_of(registry), nlohmann::json(pairs).dump(), 0600);
            there.changed = false;
        }
    }

  private:
    using pair = std::pair<std::string, std::string>; // blob and repository
    struct registry_facts {
        std::map<std::string, std::set<std::string>> blobs{}; // all that is known
        std::set<pair> seen{};                                // by this object
        std::vector<pair> in_order{};                         // the same, the latest last
        bool changed = false;                                 // the file does not have all of it
    };
    static constexpr std::size_t most = 20'000;
    static constexpr std::uint64_t max_size = 64 * 1024 * 1024;

    [[nodiscard]] std::string folder() const { return folder_ + "/repositories"; }
    [[nodiscard]] std::string path_of(origin const& registry) const {
        auto name = registry.authority();
        std::replace(name.begin(), name.end(), '/', '_');
        return folder() + "/" + name + ".json";
    }

    registry_facts& load(origin const& registry) {
        auto const [found, added] = registries_.try_emplace(registry);
        if (added && !folder_.empty())
            for (auto& [which, repository] : read(path_of(registry)))
                found->second.blobs[which].insert(std::move(repository));
        return found->second;
    }

    // What cannot be understood is forgotten: it is no more than a hint.
    static std::vector<pair> read(std::string const& path) {
        std::error_code problem;
        auto const size = std::filesystem::file_size(path, problem);
        if (problem || size > max_size) return {};
        auto const document = nlohmann::json::parse(read_file(path, max_size), nullptr, false);
        std::vector<pair> pairs;
        if (!document.is_array()) return pairs;
        for (auto const& one : document)
            if (one.is_array() && one.size() == 2 && one[0].is_string() && one[1].is_string())
                pairs.emplace_back(one[0].get<std::string>(), one[1].get<std::string>());
        return pairs;
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
    std::map<origin, registry_facts> registries_;
};

} // namespace shiplap
