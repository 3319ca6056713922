// Models as people write them down: a TOML file with the sizes and switches of a ModelConfig, for planning and counting
// without weights. data/models/*.toml are such files; data/models/README.md has the keys.
//
// Pure functions; thread-safe. Strict: an unknown key, a size out of bounds or a count that does not follow from the shape
// is an error that names the line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace fathom::model {

/// Errors: kNotFound, kIo; kInvalidArgument with "FILE:LINE: ...".
ModelConfig read_description(const std::filesystem::path& path);
/// `name` is how errors call the text.
ModelConfig parse_description(std::string_view text, const std::string& name);

/// The file of preset `name` ("llama3-70b") in `folder`. Errors: kInvalidArgument for a name that is none (a path, ...),
/// kNotFound, naming those that there are.
std::filesystem::path find_description(const std::filesystem::path& folder, std::string_view name);
/// Names of all presets of the folder, sorted. Errors: kNotFound where there is no such folder.
std::vector<std::string> description_names(const std::filesystem::path& folder);

/// Every name of every preset, folded, and the preset's: tables of runs spell names in their own ways. Errors: as above;
/// kInvalidArgument where two presets claim one name.
std::map<std::string, std::string> description_aliases(const std::filesystem::path& folder);
/// Letters and digits alone, in lower case: "Llama-3.1 70B" and "LLAMA3.1_70B" are one name.
std::string fold_model_name(std::string_view name);

}  // namespace fathom::model
