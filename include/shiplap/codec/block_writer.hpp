#pragma once
// block_writer: gathers plain bytes into blocks, has them packed on the executor, and gives them back in order. What all
// codecs share that pack blocks which know nothing of each other.
//
//   a packing_block   meaning
//   b.prepare()       makes room for what run() will pack: an allocator that has a heap for each thread would keep what
//                     workers give back
//   b.run()           packs: see block_queue.hpp
//   b.reuse()         empty again, with the memory that it has
//   b.another()       an empty one of the same kind

#include <shiplap/bytes/concept.hpp>
#include <shiplap/codec/block_queue.hpp>

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

namespace shiplap::detail {

template <class B>
concept packing_block = parallel_block<B> && requires(B& block) {
    block.prepare();
    block.reuse();
    { block.another() } -> std::same_as<B>;
};

/// Room for packed bytes, not initialised: a string would set all of it to zero first.
class packed_bytes {
  public:
    /// What is free behind the bytes that it has.
    [[nodiscard]] bytes_span room() noexcept { return {memory_.get() + size_, capacity_ - size_}; }
    /// Takes over so many of the bytes of room().
    void add(std::size_t size) noexcept { size_ += size; }
    void add(bytes_view bytes) noexcept {
        std::memcpy(memory_.get() + size_, bytes.data(), bytes.size());
        size_ += bytes.size();
    }

    /// Empties it, and makes room for so many bytes.
    void reset(std::size_t capacity) {
        size_ = 0;
        if (capacity <= capacity_) return;
        memory_ = std::make_unique_for_overwrite<std::byte[]>(capacity);
        capacity_ = capacity;
    }

    [[nodiscard]] bytes_view bytes() const noexcept { return {memory_.get(), size_}; }
    [[nodiscard]] bytes_span bytes() noexcept { return {memory_.get(), size_}; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

  private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t size_ = 0, capacity_ = 0;
};

template <packing_block Block>
class block_writer {
  public:
    block_writer(executor_ref executor, Block first) : queue_{executor}, block_{std::move(first)} {}

    /// The block that is being filled.
    [[nodiscard]] Block& block() noexcept { return block_; }

    /// Sends the block off; `emit(block)` is called for every block whose turn has come.
    template <class Emit>
    void post(Emit emit) {
        auto next = spare_ ? std::move(*spare_) : block_.another();
        spare_.reset();
        block_.prepare();
        queue_.post(std::exchange(block_, std::move(next)));
        while (queue_.full()) emit_oldest(emit);
    }

    /// Waits for all blocks that were posted.
    template <class Emit>
    void drain(Emit emit) {
        while (!queue_.empty()) emit_oldest(emit);
    }

  private:
    template <class Emit>
    void emit_oldest(Emit& emit) {
        auto block = queue_.take();
        emit(std::as_const(block));
        block.reuse();
        spare_ = std::move(block);
    }

    block_queue<Block> queue_;
    Block block_;
    std::optional<Block> spare_; // one comes back for each that goes
};

} // namespace shiplap::detail
