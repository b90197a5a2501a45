#pragma once
// registry_sink: an image in one or more repositories of registries.
//
//     registry_sink to{curl_transport{}, {reference::parse("r.io/app:1"), reference::parse("r.io/app:latest")}};
//     copy(root, {}, store, to, env);
//
// What a repository has is not sent again: HEAD first; then the blob is mounted from a repository of the same registry
// that is known to have it; then uploaded (upload.hpp). Manifests go by digest, when all that they name was confirmed;
// tags are moved by commit(), last of all. A tag that stands for this image already is left alone.
//
// The tags of one image cannot be moved all at once. If one fails, the error says which were moved and which not.

#include <shiplap/image/reference.hpp>
#include <shiplap/registry/known_repositories.hpp>
#include <shiplap/registry/layer_encoding.hpp>
#include <shiplap/registry/repository.hpp>
#include <shiplap/registry/upload.hpp>
#include <shiplap/registry/upload_manifest.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/graph.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

struct registry_options {
    bool insecure = false;  ///< plain HTTP, and certificates that nobody vouches for, are good enough
    bool by_digest = false; ///< sets no tags
    std::vector<reference> untagged{}; ///< it goes there as well, but gets no tag
    unsigned transfers = 4;            ///< uploads at once, at least 1
    upload_options upload{};           ///< its journal is the sink's
    std::string state_folder{};        ///< what makes the next push shorter is kept here; empty: nowhere
    /// Who has which blob; shared with other sinks and sources. None: one that knows what `state_folder` knows.
    std::shared_ptr<known_repositories> known{};
};

/// A remote_sink. `names`: references of where the image goes, of at least one repository.
template <transport T>
class registry_sink {
  public:
    /// Throws option_error for no names, and for a name with a tag or digest if no tags are wanted.
    registry_sink(T over, std::vector<reference> const& names, registry_options options = {})
        : self_{std::make_unique<state>(std::move(over), std::move(options))} {
        if (names.empty() && self_->options.untagged.empty())
            throw option_error{"push", "", "an image needs a name that says where it goes"};
        for (auto const& name : names) {
            if (self_->options.by_digest && (!name.tag().empty() || name.digest()))
                throw option_error{"push", name.text(),
                                   "can't push tagged ref " + name.text() + " by digest"};
            self_->add(name, !self_->options.by_digest);
        }
        for (auto const& name : self_->options.untagged) self_->add(name, false);
    }

    [[nodiscard]] unsigned transfers() const noexcept { return std::max(1U, self_->options.transfers); }

    /// Finds each registry and what its tags stand for now: a registry that is not there, or does not know the user, is
    /// told of before the work is done.
    void connect() { self_->connect(); }

    /// All but the layers that are to be fetched from elsewhere.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        self_->begin(graph.root);
        std::vector<descriptor> contents;
        for (auto const& node : graph.contents)
            if (node.role != node_role::layer || !detail::is_foreign_layer(node.what.media_type) ||
                node.what.urls.empty())
                contents.push_back(node.what);
        return contents;
    }

    /// In all repositories.
    [[nodiscard]] bool exists(descriptor const& what) {
        self_->connect();
        bool everywhere = true;
        for (auto& to : self_->targets)
            everywhere &= self_->pushing_to(to, [&] { return self_->has(to, what); });
        return everywhere;
    }

    void put(descriptor const& what, replayable_source_ref from) {
        self_->connect();
        if (is_document(what)) return self_->put_document(what, from);
        for (auto& to : self_->targets)
            if (!self_->confirmed(to, what.digest))
                self_->pushing_to(to, [&] { self_->put_blob(to, what, from); });
    }

    /// Without a name: all that the sink was made with. Throws option_error for one that it was not made with.
    void tag(descriptor const&, image_name const& name) {
        if (name.full.empty()) return;
        auto const found = std::find_if(self_->tags.begin(), self_->tags.end(),
                                        [&](auto const& tag) { return tag.full == name.full; });
        // One with a digest is what the registry calls it by itself.
        if (found == self_->tags.end() && !reference::parse(name.full).digest())
            throw option_error{"push", name.full,
                               "is none of the names that this registry_sink was made for"};
    }

    /// Moves the tags.
    void commit() {
        self_->move_tags();
        try {
            self_->options.known->save();
        } catch (
            system_error const&) { // NOLINT(bugprone-empty-catch): the image is there; all that is lost is time
        }
    }

  private:
    struct target {
        repository<T> to;
        std::set<digest> confirmed{}; // what it has
    };
    struct tag_name {
        std::string full, tag;
        std::size_t target;
        std::optional<digest> stands_for{}; // as far as the registry told
    };

    struct state {
        state(T made_of, registry_options with)
            : over{std::move(made_of)}, options{std::move(with)}, journal{options.state_folder} {
            if (!options.known) options.known = std::make_shared<known_repositories>(options.state_folder);
            options.upload.journal = &journal;
        }

        void add(reference const& name, bool tagged) {
            auto const same = [&](target const& there) {
                return there.to.name() == name.path() && there.to.host().name == name.domain();
            };
            auto at = std::find_if(targets.begin(), targets.end(), same);
            if (at == targets.end())
                at = targets.insert(at, target{repository<T>{over, host_of(name.domain(), options.insecure),
                                                             name.path(), repository<T>::push}});
            auto const tag = tagged ? name.with_default_tag().tag() : "";
            if (!tag.empty())
                tags.push_back(
                    {name.with_default_tag().text(), tag, static_cast<std::size_t>(at - targets.begin())});
        }

        void begin(descriptor const& image) {
            root = image;
            root_text.clear();
            for (auto& one : targets) one.confirmed.erase(image.digest); // its tags decide
        }

        // Others wait for who is at it.
        void connect() {
            std::lock_guard const lock{connecting};
            if (connected) return;
            for (auto& one : targets) habits.try_emplace(one.to.registry());
            for (auto& tag : tags) {
                auto& in = targets[tag.target];
                tag.stands_for = pushing_to(in, [&] { return meaning_of(in, tag.tag); });
            }
            connected = true;
        }

        // Errors name the image as the user does.
        template <class Action>
        auto pushing_to(target const& to, Action action) {
            try {
                return action();
            } catch (error& failure) {
                auto const named = std::find_if(tags.begin(), tags.end(),
                                                [&](auto const& tag) { return &targets[tag.target] == &to; });
                failure.within("failed to push " +
                               printable(named == tags.end() ? to.to.full_name() : named->full));
                throw;
            }
        }

        std::optional<digest> meaning_of(target& in, std::string const& tag) {
            try {
                auto const found = in.to.find_manifest(tag);
                if (!found || found->digest) return found ? found->digest : std::nullopt;
                auto const document = in.to.get_manifest(tag);
                return document ? std::optional{document->what.digest} : std::nullopt;
            } catch (format_error const&) {
                return std::nullopt; // whatever it is, it is not this image
            }
        }

        bool confirmed(target const& in, digest const& which) {
            std::lock_guard const lock{mutex};
            return in.confirmed.contains(which);
        }
        void confirm(target& in, digest const& which, bool is_blob) {
            std::lock_guard const lock{mutex};
            in.confirmed.insert(which);
            if (is_blob) options.known->add(in.to.registry(), in.to.name(), which);
        }

        bool has(target& in, descriptor const& what) {
            if (confirmed(in, what.digest)) return true;
            if (!is_document(what)) {
                if (!in.to.has_blob(what.digest, what.size)) return false;
            } else if (root && what.digest == root->digest && has_tags(in)) {
                if (!tags_are_up_to_date(in)) return false;
            } else if (auto const found = in.to.find_manifest(what.digest.text()); !found) {
                return false;
            }
            confirm(in, what.digest, !is_document(what));
            return true;
        }

        bool has_tags(target const& in) const {
            return std::any_of(tags.begin(), tags.end(),
                               [&](auto const& tag) { return &targets[tag.target] == &in; });
        }
        bool tags_are_up_to_date(target const& in) const {
            return std::all_of(tags.begin(), tags.end(), [&](tag_name const& tag) {
                return &targets[tag.target] != &in || tag.stands_for == root->digest;
            });
        }

        void put_blob(target& into, descriptor const& what, replayable_source_ref from) {
            // One that is known to have it; more of them would cost more than they save.
            std::optional<upload_session> session;
            if (auto const holders = options.known->having(into.to.registry(), what.digest, into.to.name());
                !holders.empty()) {
                auto answer = into.to.mount(what.digest, holders.front());
                if (answer.mounted) return confirm(into, what.digest, true);
                session = std::move(answer.session);
            }
            detail::require_encoding(what, from);
            upload_blob(into.to, what, from, habits.at(into.to.registry()), options.upload,
                        std::move(session));
            confirm(into, what.digest, true);
        }

        void put_document(descriptor const& what, replayable_source_ref from) {
            std::string text(static_cast<std::size_t>(what.size), '\0');
            (void)read_fully(from, {reinterpret_cast<std::byte*>(text.data()), text.size()});
            for (auto& into : targets) {
                if (confirmed(into, what.digest)) continue;
                pushing_to(into, [&] { put_manifest(into, what.digest.text(), what, text); });
                confirm(into, what.digest, false);
            }
            if (root && what.digest == root->digest) root_text = std::move(text);
        }

        void put_manifest(target& into, std::string const& name, descriptor const& what,
                          std::string const& text) {
            try {
                upload_manifest(into.to, name, what, text);
            } catch (content_missing const& lost) {
                std::lock_guard const lock{mutex};
                for (auto const& one : lost.what_is_missing()) into.confirmed.erase(one.digest);
                throw;
            }
        }

        void move_tags() {
            for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
                if (tag->stands_for == root->digest) continue;
                auto& into = targets[tag->target];
                try {
                    put_tag(into, tag->tag);
                } catch (error& failure) {
                    failure.within(fate_of_tags(tag));
                    throw;
                }
                tag->stands_for = root->digest;
            }
        }

        void put_tag(target& into, std::string const& tag) {
            try {
                put_manifest(into, tag, *root, root_text);
            } catch (registry_error const& failure) {
                auto const& facts = failure.facts();
                auto const told = detail::lower_case(facts.registry_message);
                bool const immutable = told.find("immutable") != told.npos ||
                                       told.find("already exists") != told.npos || facts.http_status == 409 ||
                                       facts.http_status == 412;
                if (!immutable) throw;
                if (stands_for_root(into, tag)) return;
                throw registry_error{
                    "push", into.to.shown(tag),
                    "this tag is immutable and stands for another image; choose another tag (" +
                        failure.reason() + ")",
                    facts};
            }
        }

        // Set by a request whose answer got lost, or by somebody else; or the registry told no digest before.
        bool stands_for_root(target& in, std::string const& tag) const {
            try {
                auto const document = in.to.get_manifest(tag);
                return document && document->text == root_text;
            } catch (error const&) {
                return false;
            }
        }

        // Which names were moved, and which not, if there are several.
        std::string fate_of_tags(typename std::vector<tag_name>::iterator failed) const {
            auto what_failed = "failed to push " + printable(failed->full);
            if (tags.size() == 1) return what_failed;
            std::string moved, left;
            for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
                auto& list = tag->stands_for == root->digest ? moved : left;
                list += (list.empty() ? "" : ", ") + tag->full;
            }
            return what_failed +
                   ": these names stand for the new image: " + (moved.empty() ? "none" : moved) +
                   "; these do not, as far as is known: " + left;
        }

        T over;
        registry_options options;
        upload_journal journal;
        std::vector<target> targets;
        std::vector<tag_name> tags;
        std::optional<descriptor> root;
        std::string root_text;
        std::mutex connecting;
        bool connected = false;
        std::map<origin, upload_habits> habits;
        std::mutex mutex; // of the sets of what is confirmed
    };

    std::unique_ptr<state> self_;
};

} // namespace shiplap
