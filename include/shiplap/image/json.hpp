#pragma once
// JSON as images use it: read strictly, written exactly as Go writes it.
//
// Reading. A document is hashed by one program and read by another, so everything that two readers may
// understand differently is an error: duplicate names, names that differ only in case (Go's reader takes one
// for the other), a byte order mark, invalid UTF-8, lone surrogates, anything after the value. So are
// documents over 4 MiB and nesting deeper than 64 (RFC 7493, I-JSON; image-spec, "+json" media types).
// Unknown members are no error.
//
// Objects whose names are data keep names that differ only in case: annotations, Labels, Volumes,
// ExposedPorts.
//
// Writing. The digest of an object is that of its bytes, so they are those of Go's encoding/json: `<`, `>`,
// `&`, U+2028 and U+2029 escaped, all else plain UTF-8, two spaces of indentation or none, no newline at the
// end.

#include <shiplap/error.hpp>

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

using json = nlohmann::ordered_json;

/// Bytes of the largest document that is read.
inline constexpr std::size_t max_document_size = 4 * 1024 * 1024;
/// Arrays and objects inside each other in the deepest document that is read.
inline constexpr std::size_t max_document_depth = 64;

namespace detail {

/// A name as Go's reader compares it: without case, and with the two letters outside ASCII that fold into it.
inline std::string fold_name(std::string_view name) {
    std::string out;
    for (std::size_t i = 0; i < name.size(); ++i) {
        auto const rest = name.substr(i);
        if (rest.starts_with("\u017f")) { // long s
            out += 's';
            i += 1;
        } else if (rest.starts_with("\u212a")) { // kelvin sign
            out += 'k';
            i += 2;
        } else {
            out += 'A' <= name[i] && name[i] <= 'Z' ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
        }
    }
    return out;
}

/// One step of a JSON pointer (RFC 6901).
inline std::string pointer_step(std::string_view name) {
    std::string out = "/";
    for (char const c : name) {
        if (c == '~')
            out += "~0";
        else if (c == '/')
            out += "~1";
        else
            out += c;
    }
    return out;
}

// Values are made by these and not by json's constructors and operators, each of which is a template that searches
// all conversions to JSON: that would double what this header costs to compile.

/// A value of `type`, for which json's own type is T.
template <class T>
json json_scalar(json::value_t type, T value) {
    json out(type);
    *out.get_ptr<T*>() = std::move(value);
    return out;
}

inline json json_text(std::string text) {
    return json_scalar(json::value_t::string, std::move(text));
}
inline json json_number(std::uint64_t value) {
    return json_scalar(json::value_t::number_unsigned, value);
}
inline json empty_object() {
    return json(json::value_t::object);
}
inline json empty_array() {
    return json(json::value_t::array);
}

/// Appends a member to an object that does not have it yet. (operator[] would search all names, which is quadratic in
/// the size of a hostile object.)
inline json& add_member(json& object, std::string_view name, json value) {
    return object.get_ptr<json::object_t*>()->emplace_back(std::string{name}, std::move(value)).second;
}

/// The same for an optional text: an empty one is left out.
inline void add_text(json& object, std::string_view name, std::string const& value) {
    if (!value.empty()) add_member(object, name, json_text(value));
}

/// The member of an object, null if it was not there.
inline json& member(json& object, std::string_view name) {
    for (auto& [key, value] : *object.get_ptr<json::object_t*>())
        if (key == name) return value;
    return add_member(object, name, json(nullptr));
}

/// Appends to an array.
inline json& add_item(json& array, json value) {
    return array.get_ptr<json::array_t*>()->emplace_back(std::move(value));
}

inline json json_texts(std::vector<std::string> const& values) {
    auto out = empty_array();
    for (auto const& value : values) add_item(out, json_text(value));
    return out;
}

/// Takes the events of the parser, builds the value, and refuses what parse_json() promises to refuse.
class strict_json_builder {
  public:
    explicit strict_json_builder(bool names_are_data) : all_names_are_data_{names_are_data} {}

    bool null() { return put(json(nullptr)); }
    bool boolean(bool value) { return put(json_scalar(json::value_t::boolean, value)); }
    bool number_integer(std::int64_t value) { return put(json_scalar(json::value_t::number_integer, value)); }
    bool number_unsigned(std::uint64_t value) { return put(json_number(value)); }
    bool number_float(double value, std::string const&) {
        return put(json_scalar(json::value_t::number_float, value));
    }
    bool string(std::string& value) { return put(json_text(std::move(value))); }
    bool binary(json::binary_t&) { return false; } // no such thing in text

    bool start_object(std::size_t) { return open(empty_object()); }
    bool start_array(std::size_t) { return open(empty_array()); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool key(std::string& name) {
        auto& here = open_[depth_ - 1];
        auto const [other, is_new] = here.names.emplace(here.names_are_data ? name : fold_name(name), name);
        if (!is_new)
            return refuse("the object at '" + place() + "' has the names \"" + other->second + "\" and \"" +
                          name + "\", which some readers take for the same");
        here.name = std::move(name);
        return true;
    }

    bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const& reason) {
        std::string_view text =
            reason.what(); // "[json.exception.parse_error.101] parse error at line 1, ..."
        if (auto const end = text.find("] "); text.starts_with("[json.") && end != text.npos)
            text.remove_prefix(end + 2);
        return refuse(std::string{text});
    }

    [[nodiscard]] std::string const& error() const noexcept { return error_; }
    [[nodiscard]] json take() { return std::move(root_); }

  private:
    struct level {
        json* value = nullptr;
        bool names_are_data = false;
        std::string name{};                         ///< of the member that comes next
        std::map<std::string, std::string> names{}; ///< all so far, as they are compared and as they are
    };

    // A json& stays valid while it is open: what holds it grows only after it was closed.
    json& place_value(json&& value) {
        if (depth_ == 0) return root_ = std::move(value);
        auto& here = open_[depth_ - 1];
        return here.value->is_array() ? add_item(*here.value, std::move(value))
                                      : add_member(*here.value, here.name, std::move(value));
    }

    bool put(json&& value) {
        place_value(std::move(value));
        return true;
    }

    bool open(json&& value) {
        if (depth_ == max_document_depth)
            return refuse("nested deeper than " + std::to_string(max_document_depth) + " levels");
        std::string_view const name = depth_ == 0 ? std::string_view{} : open_[depth_ - 1].name;
        bool const names_are_data = all_names_are_data_ || name == "annotations" || name == "Labels" ||
                                    name == "Volumes" || name == "ExposedPorts";
        auto& placed = place_value(std::move(value));
        open_[depth_++] = {&placed, names_are_data};
        return true;
    }

    bool close() {
        --depth_;
        return true;
    }

    bool refuse(std::string reason) {
        if (error_.empty()) error_ = printable(reason);
        return false;
    }

    [[nodiscard]] std::string place() const {
        std::string out;
        for (std::size_t i = 0; i + 1 < depth_; ++i) {
            auto const* const array = open_[i].value->get_ptr<json::array_t const*>();
            out += array ? "/" + std::to_string(array->size() - 1) : pointer_step(open_[i].name);
        }
        return out;
    }

    bool all_names_are_data_;
    json root_;
    std::array<level, max_document_depth> open_;
    std::size_t depth_ = 0;
    std::string error_;
};

/// Compact or indented JSON with the escapes that Go adds. The characters occur only inside strings, so the
/// text can be patched without a look at its structure.
inline std::string escape_html(std::string_view plain) {
    std::string out;
    out.reserve(plain.size());
    for (std::size_t i = 0; i < plain.size(); ++i) {
        auto const rest = plain.substr(i);
        if (rest.starts_with("\u2028") || rest.starts_with("\u2029")) {
            out += rest[2] == '\xa8' ? "\\u2028" : "\\u2029";
            i += 2;
        } else if (rest[0] == '<') {
            out += "\\u003c";
        } else if (rest[0] == '>') {
            out += "\\u003e";
        } else if (rest[0] == '&') {
            out += "\\u0026";
        } else {
            out += rest[0];
        }
    }
    return out;
}

} // namespace detail

/// What may be otherwise in documents that are passed on and not acted upon.
struct json_rules {
    std::size_t max_size = max_document_size; ///< bytes
    bool names_are_data = false;              ///< names may differ only in case, wherever they are
};

/// Reads a document under the rules above. `subject` names it in messages: a path, a digest. Throws
/// format_error that tells line and column, or the place as a JSON pointer.
inline json parse_json(std::string_view text, std::string_view subject, json_rules const& rules = {}) {
    auto const fail = [&](std::string reason) {
        return format_error{"parse JSON", std::string{subject}, std::move(reason)};
    };
    if (text.size() > rules.max_size)
        throw fail("has " + std::to_string(text.size()) + " bytes, at most " +
                   std::to_string(rules.max_size) + " are read");
    if (text.starts_with("\xef\xbb\xbf")) throw fail("starts with a byte order mark, which JSON must not");
    if (auto const zero = text.find('\0'); zero != text.npos) // to the parser that would be the end
        throw fail("has a zero byte at offset " + std::to_string(zero));

    // The parser itself instead of json::sax_parse(), which also instantiates the readers of all binary formats; and
    // that of nlohmann::json, which the library's header instantiates anyway and which gives the same events.
    detail::strict_json_builder builder{rules.names_are_data};
    using input = decltype(nlohmann::detail::input_adapter(text.data(), text.data()));
    nlohmann::detail::parser<nlohmann::json, input> parser{
        nlohmann::detail::input_adapter(text.data(), text.data() + text.size())};
    if (!parser.sax_parse(&builder)) throw fail(builder.error());
    return builder.take();
}

namespace detail {

inline std::string dumped(json const& value, int indent) {
    try {
        return escape_html(value.dump(indent));
    } catch (json::exception const&) { // the only one that it throws: what came in by parse_json() is UTF-8
        throw format_error{"write JSON", "", "a text in it is not UTF-8"};
    }
}

} // namespace detail

/// Indented by two spaces, as Go's json.MarshalIndent(v, "", "  "): manifests and indexes. Throws format_error
/// for text that is not UTF-8.
inline std::string pretty(json const& value) {
    return detail::dumped(value, 2);
}

/// Without spaces, as Go's json.Marshal(v): configurations, index.json. Throws as pretty().
inline std::string compact(json const& value) {
    return detail::dumped(value, -1);
}

} // namespace shiplap
