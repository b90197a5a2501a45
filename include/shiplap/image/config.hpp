#pragma once
// config: the document that tells how to run an image and what its layers unpack to (image-spec, config.md).
//
// A configuration is text in and text out. Its owner may have put anything in it, and all of that stays as it
// was written, to the digit and the escape sequence; only `rootfs`, `history` and `created`, which speak of
// the layers, are made anew. The result is compact with its top-level names in byte order, as BuildKit writes
// it.

#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/history.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/image/platform.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

/// What shiplap reads of a configuration.
struct image_config {
    shiplap::platform platform{}; ///< as written, not normalised
    std::optional<zoned_time> created{};
    std::vector<digest> diff_ids{}; ///< of the layers, bottom first
    std::vector<history_entry> history{};
    friend bool operator==(image_config const&, image_config const&) = default;
};

namespace detail {

/// Refuses a member whose name differs only in case from one of `names`: Go would take it for that one.
template <std::size_t N>
void check_case(json_node const& node, std::array<std::string_view, N> const& names) {
    std::map<std::string, std::string_view> right;
    for (auto const name : names) right.emplace(fold_name(name), name);
    for (auto const& [key, value] : node.object()) {
        auto const found = right.find(fold_name(key));
        if (found != right.end() && found->second != key)
            node.refuse("has a member \"" + key + "\", must be written \"" + std::string{found->second} +
                        "\"");
    }
}

inline constexpr std::array<std::string_view, 10> config_names{
    "architecture", "author",      "config",     "created", "history",
    "os",           "os.features", "os.version", "rootfs",  "variant"};

/// The members of "config" in Go's order.
inline constexpr std::array<std::string_view, 13> run_config_names{
    "User",   "ExposedPorts", "Env",         "Entrypoint",  "Cmd",     "Volumes", "WorkingDir",
    "Labels", "StopSignal",   "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"};

/// Checks the types of all members that the specification has, and that the two indispensable ones are there.
inline void check_config(json_node const& root) {
    auto const fail = [&](char const* reason) {
        throw format_error{"read image config", std::string{root.subject()}, reason};
    };
    auto const good = [](auto const&) {}; // reading was the check
    if (root.value().is_null()) fail("invalid null image config for export");
    check_case(root, config_names);
    for (auto const* name : {"os", "architecture", "variant", "os.version", "author"})
        good(root.text_of(name));
    if (root.text_of("os").empty()) fail("invalid image config for export: missing os");
    if (root.text_of("architecture").empty()) fail("invalid image config for export: missing architecture");
    if (auto const features = root.find("os.features")) good(features->texts());
    good(read_time(root, "created"));

    auto const run = root.find("config");
    if (!run) return;
    check_case(*run, run_config_names);
    for (auto const* name : {"User", "WorkingDir", "StopSignal"}) good(run->text_of(name));
    for (auto const* name : {"Env", "Entrypoint", "Cmd"})
        if (auto const list = run->find(name)) good(list->texts());
    for (auto const* name : {"ExposedPorts", "Volumes"})
        if (auto const set = run->find(name)) good(set->object());
    if (auto const labels = run->find("Labels"))
        for (auto const& [key, value] : labels->object())
            if (!value.is_string()) labels->refuse("the value of \"" + key + "\" must be a string");
}

/// Valid JSON without the spaces between its tokens and with Go's escapes; everything else stays.
inline std::string compact_text(std::string_view valid) {
    std::string out;
    bool quoted = false;
    for (std::size_t i = 0; i < valid.size(); ++i) {
        char const c = valid[i];
        if (quoted && c == '\\') {
            out += c;
            out += valid[++i];
            continue;
        }
        if (c == '"') quoted = !quoted;
        if (quoted || (c != ' ' && c != '\t' && c != '\n' && c != '\r')) out += c;
    }
    return escape_html(out);
}

/// The members of an object that is not read further: names with the text of their values, in byte order.
using raw_members = std::map<std::string, std::string>;

/// Cuts the text of an object, which parse_json() has accepted, into its members.
inline raw_members split_members(std::string_view valid) {
    auto const text = compact_text(valid);
    raw_members out;
    std::size_t start = 1, depth = 0, colon = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char const c = text[i];
        if (quoted) {
            if (c == '\\') ++i;
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        if (c == '{' || c == '[') ++depth;
        if (c == ':' && depth == 1 && colon == 0) colon = i;
        if ((c == ',' || c == '}') && depth == 1 && colon != 0) {
            auto const name = parse_json(std::string_view{text}.substr(start, colon - start), "a name");
            out.emplace(name.get_ref<json::string_t const&>(), text.substr(colon + 1, i - colon - 1));
            start = i + 1;
            colon = 0;
        }
        if (c == '}' || c == ']') --depth;
    }
    return out;
}

inline std::string join_members(raw_members const& members) {
    std::string out;
    for (auto const& [name, value] : members) {
        out += out.empty() ? '{' : ',';
        out += compact(json(name)) + ":" + value;
    }
    return out.empty() ? "{}" : out + "}";
}

inline json rootfs_json(std::span<layer_blob const> layers) {
    json ids(nullptr); // Go writes null for none
    for (auto const& layer : layers) ids.push_back(layer.diff_id.text());
    auto out = empty_object();
    add_member(out, "type", "layers");
    add_member(out, "diff_ids", std::move(ids));
    return out;
}

} // namespace detail

/// The configuration of an image for which none is given: the platform, "/" as working directory, and a PATH
/// (not on Windows).
inline std::string default_config(platform const& where) {
    auto run = detail::empty_object();
    if (where.os != "windows")
        detail::add_member(
            run, "Env",
            detail::json_texts({"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}));
    detail::add_member(run, "WorkingDir", "/");
    auto out = to_json(where);
    detail::add_member(out, "config", std::move(run));
    detail::add_member(out, "rootfs", detail::rootfs_json({}));
    return compact(out);
}

/// The platform that a configuration names. Throws format_error if it is not a configuration.
inline platform platform_of_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    detail::check_config(root);
    return read_platform(root);
}

/// Reads the configuration of a finished image. Throws format_error.
inline image_config read_config(std::string_view text, std::string_view subject) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    detail::check_config(root);

    image_config out{.platform = read_platform(root), .created = detail::read_time(root, "created")};
    if (auto const history = root.find("history")) out.history = read_history(*history);
    auto const rootfs = root["rootfs"];
    if (rootfs["type"].text() != "layers") rootfs["type"].refuse("must be \"layers\"");
    if (auto const ids = rootfs.find("diff_ids"))
        for (auto const& id : ids->items()) out.diff_ids.push_back(detail::read_digest(id));
    return out;
}

/// Makes a configuration that fits `layers` (bottom first) out of one that was given: `rootfs` from their
/// diff_ids, `history` normalised and, with an epoch (seconds since 1970), clamped to it. `created` is
/// clamped if it is there, otherwise it is the time of the last history entry. Appends what the user should
/// know to `warnings`. `subject` names the text in messages. Throws format_error.
inline std::string finish_config(std::string_view text, std::string_view subject,
                                 std::span<layer_blob const> layers, timestamp now,
                                 std::optional<std::int64_t> epoch, std::vector<std::string>& warnings) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    detail::check_config(root);

    auto const given = root.find("history");
    auto history = given ? read_history(*given) : std::vector<history_entry>{};
    normalise_history(history, layers, now, warnings);
    if (epoch) clamp_history(history, *epoch);

    auto members = detail::split_members(text);
    members["rootfs"] = compact(detail::rootfs_json(layers));
    members["history"] = history.empty() && !given ? "null" : compact(to_json(history));

    json created(nullptr);
    for (auto const& entry : history)
        if (entry.created) created = format_rfc3339(*entry.created);
    members.try_emplace("created", compact(created));
    if (auto const time = detail::read_time(root, "created");
        time && epoch && time->at > timestamp{*epoch, 0})
        members["created"] = compact(json(format_rfc3339(timestamp{*epoch, 0})));
    return detail::join_members(members);
}

} // namespace shiplap
