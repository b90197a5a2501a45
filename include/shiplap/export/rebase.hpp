#pragma once
// rebase: an image that was built upon one base, put upon another, as after an update of that base.
//
//     auto result = rebase(read_base(images, app), read_base(images, old_debian), read_base(images, new_debian));
//
//   part of the result    what it is
//   layers                those of the new base, untouched, and those that the image has above the old one
//   settings              what the image has otherwise than the old base stays; all else is the new base's
//   history               the new base's, and what the image has behind the old one's
//   created, annotations  the image's
//
// Settings are the members of the configuration and of its member "config". In Env, Labels, ExposedPorts and
// Volumes each name counts on its own. Whether the files of the image get along with those of the new base is not
// looked at.

#include <shiplap/export/existing.hpp>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// One value in three documents; null where there is none.
struct merge_input {
    json const *image, *old_base, *new_base;
};

inline bool are_same(json const* a, json const* b) {
    return a == nullptr || b == nullptr ? a == b : *a == *b;
}

/// The member of an object, if there are both. Null is none, as Go has it.
inline json const* find_member(json const* object, std::string_view name) {
    if (object != nullptr && object->is_object())
        for (auto const& [key, value] : *object->get_ptr<json::object_t const*>())
            if (key == name) return value.is_null() ? nullptr : &value;
    return nullptr;
}

inline merge_input members_of(merge_input const& from, std::string_view name) {
    return {find_member(from.image, name), find_member(from.old_base, name),
            find_member(from.new_base, name)};
}

/// The names of all members, sorted.
inline std::set<std::string> names_in(merge_input const& from) {
    std::set<std::string> out;
    for (auto const* object : {from.image, from.old_base, from.new_base})
        if (object != nullptr && object->is_object())
            for (auto const& [key, value] : *object->get_ptr<json::object_t const*>()) out.insert(key);
    return out;
}

/// What the image changed stays, what it left as it was is the new base's.
inline json const* merged_whole(merge_input const& from) {
    return are_same(from.image, from.old_base) ? from.new_base : from.image;
}

using merge_parts = json (*)(merge_input const&);

/// The same, but where both the image and the base changed, `parts` decides.
inline json merged(merge_input const& from, merge_parts parts = nullptr) {
    bool const one_side = are_same(from.image, from.old_base) || are_same(from.old_base, from.new_base);
    if (!one_side && parts != nullptr) return parts(from);
    auto const* const whole = merged_whole(from);
    return whole == nullptr ? json(nullptr) : *whole;
}

/// Of objects each member on its own, in Go's order of a map.
inline json merged_map(merge_input const& from) {
    auto out = empty_object();
    for (auto const& name : names_in(from))
        if (auto const* const value = merged_whole(members_of(from, name))) add_member(out, name, *value);
    return out.empty() ? json(nullptr) : out;
}

/// Of "NAME=VALUE" each name on its own: in the new base's order, then those that only the image has.
inline json merged_env(merge_input const& from) {
    auto const by_name = [](json const* env) {
        std::vector<std::pair<std::string, json const*>> out;
        if (env != nullptr)
            for (auto const& pair : *env->get_ptr<json::array_t const*>()) {
                auto const& text = *pair.get_ptr<json::string_t const*>();
                out.emplace_back(text.substr(0, text.find('=')), &pair);
            }
        return out;
    };
    auto const image = by_name(from.image), old_base = by_name(from.old_base),
               new_base = by_name(from.new_base);
    auto const find = [](auto const& env, std::string const& name) -> json const* {
        for (auto const& [key, pair] : env)
            if (key == name) return pair;
        return nullptr;
    };
    auto out = empty_array();
    std::set<std::string> done;
    for (auto const* env : {&new_base, &image})
        for (auto const& [name, pair] : *env)
            if (done.insert(name).second)
                if (auto const* const value =
                        merged_whole({find(image, name), find(old_base, name), find(new_base, name)}))
                    add_item(out, *value);
    return out.empty() ? json(nullptr) : out;
}

/// The member "config".
inline json merged_run_config(merge_input const& from) {
    auto out = from.image == nullptr ? empty_object() : *from.image;
    for (auto const& name : names_in(from)) {
        auto const values = members_of(from, name);
        bool const is_map = name == "Labels" || name == "ExposedPorts" || name == "Volumes";
        auto const value = merged(values, name == "Env" ? &merged_env : is_map ? &merged_map : nullptr);
        auto const* const there = value.is_null() ? nullptr : &value;
        if (!are_same(there, values.image)) out = with_member(out, name, value);
    }
    return out;
}

/// The entries of `image` that are above the first `layers` layers.
inline json history_above(json const* image, json const* old_base, std::size_t layers) {
    static json const none = empty_array();
    auto const& all = image == nullptr ? none : *image;
    auto const& base = old_base == nullptr ? none : *old_base;
    auto const is_layer = [](json const& entry) {
        auto const* const empty = find_member(&entry, "empty_layer");
        return empty == nullptr || !*empty->get_ptr<json::boolean_t const*>();
    };
    auto from = all.begin();
    bool const goes_on = base.size() <= all.size() && std::equal(base.begin(), base.end(), all.begin());
    if (goes_on && static_cast<std::size_t>(std::count_if(base.begin(), base.end(), is_layer)) == layers)
        from += static_cast<std::ptrdiff_t>(base.size());
    else
        for (std::size_t seen = 0; from != all.end() && seen != layers; ++from)
            seen += is_layer(*from) ? 1 : 0;
    auto out = empty_array();
    for (; from != all.end(); ++from) add_item(out, *from);
    return out;
}

/// A history for all layers of a base: what it says, and an entry for each layer that it says nothing of.
inline std::vector<history_entry> whole_history(base_image const& base) {
    auto out = base.history;
    auto known = static_cast<std::size_t>(
        std::count_if(out.begin(), out.end(), [](auto const& entry) { return !entry.empty_layer; }));
    for (; known < base.layers.size(); ++known) {
        auto const facts = base.layers[known].stored();
        history_entry entry{.created_by = "layer of the base image"};
        if (facts && facts->created) entry.created = zoned_time{*facts->created, 0};
        out.push_back(std::move(entry));
    }
    return out;
}

/// Throws unless both are for one platform. `role` tells which base it is. (A version of the system may differ.)
inline void check_rebase_platform(image_config const& image, image_config const& base, char const* role) {
    auto const of_image = format(normalised(image.platform)), of_base = format(normalised(base.platform));
    if (of_image != of_base)
        throw error{error_code::unsupported, "rebase", of_image,
                    std::string{"is the platform of the image, that of the "} + role + " base is " + of_base};
}

inline void check_built_upon(image_config const& image, image_config const& base) {
    auto const& above = image.diff_ids;
    auto const& below = base.diff_ids;
    auto const [at, end] = std::mismatch(above.begin(), above.end(), below.begin(), below.end());
    if (end == below.end()) return;
    auto const agree = static_cast<std::size_t>(at - above.begin());
    throw error{error_code::unsupported, "rebase", "layer " + std::to_string(agree + 1),
                "the image is not built upon the old base: this layer of the image is " +
                    (at == above.end() ? "missing" : at->text()) + ", that of the base is " + end->text() +
                    "; " + std::to_string(agree) + " of the " + std::to_string(below.size()) +
                    " layers of the base agree"};
}

/// The configuration of the result, whose diff_ids are `diff_ids`.
inline std::string rebased_config(base_image const& image, base_image const& old_base,
                                  base_image const& new_base, std::vector<digest> const& diff_ids) {
    constexpr std::string_view subject = "image configuration";
    auto const above = parse_json(image.config, subject), below = parse_json(old_base.config, subject),
               under = parse_json(new_base.config, subject);
    merge_input const all{&above, &below, &under};
    auto members = split_members(image.config);
    bool changed = false;
    auto const set = [&](std::string const& name, json const& value) {
        auto const* const there = value.is_null() ? nullptr : &value;
        if (are_same(there, find_member(&above, name))) return; // as it is written
        changed = true;
        if (there == nullptr)
            members.erase(name);
        else
            members[name] = compact(value);
    };
    for (auto const& name : names_in(all))
        if (name != "created" && name != "rootfs" && name != "history")
            set(name, merged(members_of(all, name), name == "config" ? &merged_run_config : nullptr));

    if (auto const of = members_of(all, "history"); !are_same(of.old_base, of.new_base)) {
        auto const own = history_above(of.image, of.old_base, old_base.layers.size());
        auto whole = own.empty() && new_base.history.empty() ? empty_array()
                     : of.new_base != nullptr && whole_history(new_base) == new_base.history
                         ? *of.new_base
                         : to_json(whole_history(new_base));
        for (auto const& entry : own) add_item(whole, entry);
        set("history", whole.empty() ? json(nullptr) : whole);
    }
    auto const [a, b] = std::pair{find_member(&below, "rootfs"), find_member(&under, "rootfs")};
    if (!are_same(a, b)) set("rootfs", rootfs_json(diff_ids));
    return changed ? join_members(members) : image.config;
}

} // namespace detail

/// Puts `image`, whose lowest layers are those of `old_base`, upon `new_base`; all are for one platform. `with` is
/// what else is said of the result, as for as_result(). Throws error{unsupported} that names the first layer that
/// is not the old base's, or the platforms; format_error for a configuration that is none.
inline build_result rebase(base_image image, base_image const& old_base, base_image new_base,
                           build_result with = {}) {
    auto const above = read_config(image.config, "configuration of the image");
    auto const below = read_config(old_base.config, "configuration of the old base");
    auto const under = read_config(new_base.config, "configuration of the new base");
    detail::check_rebase_platform(above, below, "old");
    detail::check_rebase_platform(above, under, "new");
    detail::check_built_upon(above, below);

    auto const height = static_cast<std::ptrdiff_t>(below.diff_ids.size());
    auto diff_ids = under.diff_ids;
    diff_ids.insert(diff_ids.end(), above.diff_ids.begin() + height, above.diff_ids.end());
    image.config = detail::rebased_config(image, old_base, new_base, diff_ids);
    image.layers.erase(image.layers.begin(), image.layers.begin() + height);
    auto out = as_result(std::move(image), std::move(with));
    out.base = std::move(new_base);
    return out;
}

} // namespace shiplap
