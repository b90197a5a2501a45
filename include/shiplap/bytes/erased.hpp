#pragma once
// Type erasure at the seams between policy axes: one indirect call per chunk, never per byte.
//
// byte_sink_ref and byte_source_ref refer to something that outlives them, as a reference does;
// any_byte_source and any_replayable_source own.

#include <shiplap/bytes/concept.hpp>

#include <memory>
#include <utility>

namespace shiplap {

/// A reference to any byte_sink; lends what that one lends.
class byte_sink_ref {
  public:
    template <byte_sink S>
        requires(!std::same_as<std::remove_cv_t<S>, byte_sink_ref>)
    byte_sink_ref(S& sink)
    noexcept // NOLINT(google-explicit-constructor): a reference, as S& would be
        : object_{&sink}, calls_{&calls_of<S>} {}

    void write(bytes_view in) { calls_->write(object_, in); }
    [[nodiscard]] bytes_span room() { return calls_->room(object_); }
    void filled(std::size_t n) { calls_->filled(object_, n); }

  private:
    struct calls {
        void (*write)(void*, bytes_view);
        bytes_span (*room)(void*);
        void (*filled)(void*, std::size_t);
    };

    template <byte_sink S>
    static bytes_span room_of(void* object) {
        if constexpr (lending_sink<S>)
            return static_cast<S*>(object)->room();
        else
            return {};
    }
    template <byte_sink S>
    static void filled_of(void* object, std::size_t n) {
        if constexpr (lending_sink<S>) static_cast<S*>(object)->filled(n);
    }
    template <byte_sink S>
    static constexpr calls calls_of{[](void* object, bytes_view in) { static_cast<S*>(object)->write(in); },
                                    room_of<S>, filled_of<S>};

    void* object_;
    calls const* calls_;
};

/// A reference to any byte_source.
class byte_source_ref {
  public:
    template <byte_source R>
        requires(!std::same_as<std::remove_cv_t<R>, byte_source_ref>)
    byte_source_ref(R& source)
    noexcept // NOLINT(google-explicit-constructor): a reference, as R& would be
        : object_{&source},
          read_{[](void* object, bytes_span into) { return static_cast<R*>(object)->read(into); }} {}

    std::size_t read(bytes_span into) { return read_(object_, into); }

  private:
    void* object_;
    std::size_t (*read_)(void*, bytes_span);
};

/// A reference to any replayable_source.
class replayable_source_ref {
  public:
    template <replayable_source R>
        requires(!std::same_as<std::remove_cv_t<R>, replayable_source_ref>)
    replayable_source_ref(R& source)
    noexcept // NOLINT(google-explicit-constructor): a reference, as R& would be
        : object_{&source},
          read_{[](void* object, bytes_span into) { return static_cast<R*>(object)->read(into); }},
          rewind_{[](void* object) { static_cast<R*>(object)->rewind(); }} {}

    std::size_t read(bytes_span into) { return read_(object_, into); }
    void rewind() { rewind_(object_); }

  private:
    void* object_;
    std::size_t (*read_)(void*, bytes_span);
    void (*rewind_)(void*);
};

/// Owns any byte_source; movable.
class any_byte_source {
  public:
    template <byte_source R>
        requires(!std::same_as<std::remove_cvref_t<R>, any_byte_source>)
    any_byte_source(R source) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{new model<R>{std::move(source)}} {}

    std::size_t read(bytes_span into) { return self_->read(into); }

  private:
    struct base {
        virtual ~base() = default;
        virtual std::size_t read(bytes_span into) = 0;
    };
    template <class R>
    struct model final : base {
        explicit model(R from) : source{std::move(from)} {}
        std::size_t read(bytes_span into) override { return source.read(into); }
        R source;
    };
    std::unique_ptr<base> self_;
};

/// Owns any replayable_source; movable.
class any_replayable_source {
  public:
    template <replayable_source R>
        requires(!std::same_as<std::remove_cvref_t<R>, any_replayable_source>)
    any_replayable_source(
        R source) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{new model<R>{std::move(source)}} {}

    std::size_t read(bytes_span into) { return self_->read(into); }
    void rewind() { self_->rewind(); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        virtual std::size_t read(bytes_span into) = 0;
        virtual void rewind() = 0;
    };
    template <class R>
    struct model final : base {
        explicit model(R from) : source{std::move(from)} {}
        std::size_t read(bytes_span into) override { return source.read(into); }
        void rewind() override { source.rewind(); }
        R source;
    };
    std::unique_ptr<base> self_;
};

} // namespace shiplap
