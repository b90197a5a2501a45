#pragma once
// json_node: a value inside a document together with its place, for readers whose messages tell which member
// is wrong:
//
//     json_node root{document, "index.json"};
//     root["manifests"].items()[0]["size"].size();
//     // parse JSON 'index.json': at '/manifests/0/size': must be an integer from 0 to 2^63-1
//
// Each getter checks the type and throws format_error. An optional member that is null is absent.

#include <shiplap/error.hpp>
#include <shiplap/image/json.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Refers to the document and to `subject`, which must outlive it.
class json_node {
  public:
    json_node(json const& value, std::string_view subject, std::string pointer = {})
        : value_{&value}, subject_{subject}, pointer_{std::move(pointer)} {}

    [[nodiscard]] json const& value() const noexcept { return *value_; }
    [[nodiscard]] std::string_view subject() const noexcept { return subject_; }

    /// Throws the format_error for this place; `reason` as in "must be a string".
    [[noreturn]] void refuse(std::string_view reason) const {
        throw format_error{"parse JSON", std::string{subject_},
                           (pointer_.empty() ? "the document" : "at '" + printable(pointer_) + "':") + " " +
                               printable(reason)};
    }

    /// The member of that name; none if it is absent or null, which mean the same.
    [[nodiscard]] std::optional<json_node> find(std::string_view name) const {
        for (auto const& [key, value] : object())
            if (key == name && !value.is_null())
                return json_node{value, subject_, pointer_ + detail::pointer_step(name)};
        return std::nullopt;
    }

    /// Whether there is a member of that name, be it null.
    [[nodiscard]] bool has(std::string_view name) const {
        for (auto const& [key, value] : object())
            if (key == name) return true;
        return false;
    }

    /// The member of that name, which must be there.
    [[nodiscard]] json_node operator[](std::string_view name) const {
        if (auto found = find(name)) return *found;
        refuse("must have a member \"" + std::string{name} + "\"");
    }

    [[nodiscard]] std::string const& text() const {
        if (auto const* const found = value_->get_ptr<json::string_t const*>()) return *found;
        refuse("must be a string");
    }

    /// An integer from 0 to 2^63-1, written as one: not 1.0, not 1e3, not "1".
    [[nodiscard]] std::uint64_t size() const {
        constexpr std::uint64_t highest = std::numeric_limits<std::int64_t>::max();
        if (auto const* const found = value_->get_ptr<json::number_unsigned_t const*>();
            found && *found <= highest)
            return *found;
        refuse("must be an integer from 0 to 2^63-1");
    }

    [[nodiscard]] bool boolean() const {
        if (auto const* const found = value_->get_ptr<json::boolean_t const*>()) return *found;
        refuse("must be true or false");
    }

    [[nodiscard]] json::object_t const& object() const {
        if (auto const* const found = value_->get_ptr<json::object_t const*>()) return *found;
        refuse("must be an object");
    }

    /// The elements of an array.
    [[nodiscard]] std::vector<json_node> items() const {
        auto const* const array = value_->get_ptr<json::array_t const*>();
        if (array == nullptr) refuse("must be an array");
        std::vector<json_node> out;
        out.reserve(array->size());
        for (auto const& item : *array)
            out.emplace_back(item, subject_, pointer_ + "/" + std::to_string(out.size()));
        return out;
    }

    /// The strings of an array.
    [[nodiscard]] std::vector<std::string> texts() const {
        std::vector<std::string> out;
        for (auto const& item : items()) out.push_back(item.text());
        return out;
    }

    /// The text of an optional member, empty if it is absent or null.
    [[nodiscard]] std::string text_of(std::string_view name) const {
        auto const found = find(name);
        return found ? found->text() : std::string{};
    }

  private:
    json const* value_;
    std::string_view subject_;
    std::string pointer_;
};

namespace detail {

/// Appends a member to an object that does not have it yet.
inline void add_member(json& object, std::string_view name, json value) {
    object.get_ptr<json::object_t*>()->emplace_back(std::string{name}, std::move(value));
}

/// The same for an optional text: an empty one is left out.
inline void add_text(json& object, std::string_view name, std::string const& value) {
    if (!value.empty()) add_member(object, name, json(value));
}

inline json json_texts(std::vector<std::string> const& values) {
    json out(json::value_t::array);
    for (auto const& value : values) out.get_ptr<json::array_t*>()->emplace_back(value);
    return out;
}

inline json empty_object() {
    return json(json::value_t::object);
}
inline json empty_array() {
    return json(json::value_t::array);
}

} // namespace detail

} // namespace shiplap
