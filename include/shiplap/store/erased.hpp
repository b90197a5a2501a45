#pragma once
// The seam between packing and storing at run time: any blob_store behind one type, so that the packing loop
// is not instantiated once for each kind of store. One indirect call per chunk.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/store/concept.hpp>

#include <memory>

namespace shiplap {

/// A reference to any blob_store; itself a blob_store.
class blob_store_ref {
    struct writer_base {
        virtual ~writer_base() = default;
        virtual void write(bytes_view in) = 0;
        virtual void commit(content_facts const& facts) = 0;
    };
    template <class W>
    struct writer_model final : writer_base {
        explicit writer_model(W from) : writer{std::move(from)} {}
        void write(bytes_view in) override { writer.write(in); }
        void commit(content_facts const& facts) override { writer.commit(facts); }
        W writer;
    };

  public:
    class any_writer {
      public:
        explicit any_writer(std::unique_ptr<writer_base> self) noexcept : self_{std::move(self)} {}
        void write(bytes_view in) { self_->write(in); }
        void commit(content_facts const& facts) { self_->commit(facts); }

      private:
        std::unique_ptr<writer_base> self_;
    };

    template <blob_store S>
        requires(!std::same_as<std::remove_cv_t<S>, blob_store_ref>)
    blob_store_ref(S& store)
    noexcept // NOLINT(google-explicit-constructor): a reference, as S& would be
        : object_{&store},
          open_{[](void* object) {
              return any_writer{
                  std::make_unique<writer_model<blob_writer_of<S>>>(static_cast<S*>(object)->open())};
          }},
          contains_{[](void const* object, digest const& which) {
              return static_cast<S const*>(object)->contains(which);
          }},
          reader_{[](void const* object, digest const& which) {
              return any_replayable_source{static_cast<S const*>(object)->reader(which)};
          }} {}

    [[nodiscard]] any_writer open() { return open_(object_); }
    [[nodiscard]] bool contains(digest const& which) const { return contains_(object_, which); }
    [[nodiscard]] any_replayable_source reader(digest const& which) const { return reader_(object_, which); }

  private:
    void* object_;
    any_writer (*open_)(void*);
    bool (*contains_)(void const*, digest const&);
    any_replayable_source (*reader_)(void const*, digest const&);
};

} // namespace shiplap
