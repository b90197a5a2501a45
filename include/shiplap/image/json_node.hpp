#pragma once
// json_node: a value inside a document together with its place, for readers whose messages tell which member
// is wrong:
//
//     json_node root{document, "index.json"};
//     root["manifests"].item(0)["size"].integer();
//     // parse JSON 'index.json': at '/manifests/0/size': must be an integer from 0 to 2^63-1
//
// A member that is absent or null, which mean the same, is a node that is false. What reads such a node
// throws, as it does for a value of the wrong type; length() alone takes it for an empty array.

#include <shiplap/error.hpp>
#include <shiplap/image/json.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Refers to the document and to `subject`, which must outlive it.
class json_node {
  public:
    json_node(json const& document, std::string_view subject) : value_{&document}, subject_{subject} {}

    /// Whether the value is there and not null.
    explicit operator bool() const noexcept { return value_ != nullptr && !value_->is_null(); }

    /// The value, which is there.
    [[nodiscard]] json const& value() const noexcept { return *value_; }

    /// Throws the format_error for this place; `reason` as in "must be a string".
    [[noreturn]] void refuse(std::string_view reason) const {
        throw format_error{"parse JSON", std::string{subject_},
                           (pointer_.empty() ? "the document" : "at '" + printable(pointer_) + "':") + " " +
                               (*this ? printable(reason) : "is missing")};
    }

    /// The member of that name. Throws if this is no object.
    [[nodiscard]] json_node operator[](std::string_view name) const {
        auto path = pointer_ + detail::pointer_step(name);
        for (auto const& [key, value] : object())
            if (key == name) return {&value, subject_, std::move(path)};
        return {nullptr, subject_, std::move(path)};
    }

    /// Whether there is a member of that name, be it null.
    [[nodiscard]] bool has(std::string_view name) const { return (*this)[name].value_ != nullptr; }

    [[nodiscard]] std::string const& text() const {
        if (*this && value_->is_string()) return *value_->get_ptr<json::string_t const*>();
        refuse("must be a string");
    }

    /// The text of a member, empty if it is not there.
    [[nodiscard]] std::string text_of(std::string_view name) const {
        auto const member = (*this)[name];
        return member ? member.text() : std::string{};
    }

    /// An integer from 0 to 2^63-1, written as one: not 1.0, not 1e3, not "1".
    [[nodiscard]] std::uint64_t integer() const {
        constexpr std::uint64_t highest = std::numeric_limits<std::int64_t>::max();
        if (*this && value_->is_number_unsigned())
            if (auto const found = *value_->get_ptr<json::number_unsigned_t const*>(); found <= highest)
                return found;
        refuse("must be an integer from 0 to 2^63-1");
    }

    [[nodiscard]] bool boolean() const {
        if (*this && value_->is_boolean()) return *value_->get_ptr<json::boolean_t const*>();
        refuse("must be true or false");
    }

    [[nodiscard]] json::object_t const& object() const {
        if (*this && value_->is_object()) return *value_->get_ptr<json::object_t const*>();
        refuse("must be an object");
    }

    /// The number of elements of an array.
    [[nodiscard]] std::size_t length() const { return *this ? array().size() : 0; }
    /// The element `index`, which is less than length().
    [[nodiscard]] json_node item(std::size_t index) const {
        return {&array()[index], subject_, pointer_ + "/" + std::to_string(index)};
    }

    /// All strings of an array.
    [[nodiscard]] std::vector<std::string> texts() const {
        std::vector<std::string> out;
        for (std::size_t i = 0; i < length(); ++i) out.push_back(item(i).text());
        return out;
    }

  private:
    json_node(json const* value, std::string_view subject, std::string pointer)
        : value_{value}, subject_{subject}, pointer_{std::move(pointer)} {}

    [[nodiscard]] json::array_t const& array() const {
        if (*this && value_->is_array()) return *value_->get_ptr<json::array_t const*>();
        refuse("must be an array");
    }

    json const* value_;
    std::string_view subject_;
    std::string pointer_{};
};

} // namespace shiplap
