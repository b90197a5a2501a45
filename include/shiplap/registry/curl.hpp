#pragma once
// All that needs libcurl: the registry folder in one include.

#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/url.hpp>
