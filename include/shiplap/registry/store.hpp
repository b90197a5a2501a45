#pragma once
// registry_store: the images of one repository, to be read. A blob_reader_source.
//
//     registry_store from{curl_transport{}, reference::parse("r.io/app:1")};
//     copy(from.resolve("1"), {}, from, layout_sink{"app"}, env);
//
// Nothing is fetched before it is read. A download that is cut goes on where it was, if the registry can; who reads
// verifies (verified_source).

#include <shiplap/error.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/known_repositories.hpp>
#include <shiplap/registry/repository.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace shiplap {

template <transport T>
class registry_store {
    struct state {
        state(T with, reference const& name, bool insecure, std::shared_ptr<known_repositories> remembers)
            : over{std::move(with)},
              from{over, host_of(name.domain(), insecure), name.path()},
              known{std::move(remembers)} {}

        T over;
        repository<T> from;
        std::shared_ptr<known_repositories> known;
        std::mutex mutex;
        std::map<digest, std::string> documents; // read before; few, and small
        std::map<digest, bool> expected;         // named by these: whether it is a document
    };

  public:
    static constexpr bool is_remote = true;

    /// Of `name`, only registry and repository count. `known` learns what this repository has.
    registry_store(T over, reference const& name, bool insecure = false,
                   std::shared_ptr<known_repositories> known = nullptr)
        : self_{std::make_shared<state>(std::move(over), name, insecure, std::move(known))} {
        (void)self_->from.registry(); // before several threads want to know
    }

    /// The image of this tag or digest. Throws error{not_found}.
    [[nodiscard]] descriptor resolve(std::string const& tag_or_digest) const {
        auto document = self_->from.get_manifest(tag_or_digest);
        if (!document)
            throw error{error_code::not_found, "find image", self_->from.shown(tag_or_digest),
                        "the registry has no such image; check the name and the tag"};
        auto what = document->what;
        learn(std::move(*document));
        return what;
    }

    [[nodiscard]] bool contains(digest const& which) const {
        std::optional<bool> is_document;
        {
            std::lock_guard const lock{self_->mutex};
            if (self_->documents.contains(which)) return true;
            if (auto const found = self_->expected.find(which); found != self_->expected.end())
                is_document = found->second;
        }
        if (is_document == true) return self_->from.find_manifest(which.text()).has_value();
        return self_->from.has_blob(which, std::nullopt);
    }

    class reader_type {
      public:
        std::size_t read(bytes_span into) {
            for (;;) {
                try {
                    if (!body_) open();
                    auto const n = body_->read(into);
                    at_ += n;
                    if (n != 0 && attempts_) attempts_->progressed();
                    return n;
                } catch (registry_error const& failure) {
                    // It was cut at its very end: there is no more.
                    if (at_ != 0 && failure.facts().http_status == 416) return 0;
                    throw;
                } catch (transport_error const& failure) {
                    body_.reset();
                    if (!failure.facts().retryable || failure.facts().attempts > 1) throw;
                    if (!attempts_)
                        attempts_.emplace(detail::attempts_at(self_->over, self_->from.registry()));
                    attempts_->failed(failure);
                }
            }
        }

        void rewind() {
            if (at_ == 0) return;
            at_ = 0;
            body_.reset();
        }

      private:
        friend registry_store;
        reader_type(std::shared_ptr<state> self, digest which)
            : self_{std::move(self)}, which_{std::move(which)} {}

        void open() {
            if (auto text = document()) {
                body_.emplace(text_source{std::move(*text)});
                skip(*body_, at_); // what is missing will be found missing
                return;
            }
            auto answer = self_->from.get_blob(which_, at_);
            bool const partial = answer.status == 206;
            body_.emplace(std::move(answer.body));
            if (!partial) skip(*body_, at_);
        }

        // The text of a manifest, which is not to be had as a blob.
        std::optional<std::string> document() {
            {
                std::lock_guard const lock{self_->mutex};
                if (auto const found = self_->documents.find(which_); found != self_->documents.end())
                    return found->second;
                if (auto const found = self_->expected.find(which_);
                    found == self_->expected.end() || !found->second)
                    return std::nullopt;
            }
            auto found = self_->from.get_manifest(which_.text());
            if (!found)
                throw error{error_code::not_found, "read manifest", self_->from.shown(which_.text()),
                            "the registry does not have it"};
            auto text = found->text;
            registry_store{self_}.learn(std::move(*found));
            return text;
        }

        std::shared_ptr<state> self_;
        digest which_;
        std::optional<any_byte_source> body_{};
        std::optional<decltype(detail::attempts_at(std::declval<T&>(), std::declval<origin const&>()))>
            attempts_{};
        std::uint64_t at_ = 0;
    };

    /// Fetches nothing until it is read.
    [[nodiscard]] reader_type reader(digest const& which) const { return {self_, which}; }

  private:
    explicit registry_store(std::shared_ptr<state> self) : self_{std::move(self)} {}

    void learn(manifest_document document) const {
        std::lock_guard const lock{self_->mutex};
        auto const subject = document.what.digest.text();
        if (is_index_type(document.what.media_type)) {
            for (auto const& child : parse_index(document.text, subject, document.what.media_type).manifests)
                self_->expected.emplace(child.digest, is_document(child));
        } else if (is_manifest_type(document.what.media_type)) {
            auto const manifest = parse_manifest(document.text, subject, document.what.media_type);
            if (self_->known) {
                for (auto const& layer : manifest.layers)
                    self_->known->add(self_->from.registry(), self_->from.name(), layer.digest);
                self_->known->add(self_->from.registry(), self_->from.name(), manifest.config.digest);
            }
        }
        self_->documents.insert_or_assign(document.what.digest, std::move(document.text));
    }

    std::shared_ptr<state> self_;
};

} // namespace shiplap
