// The page of a validation: predicted against measured time, and the table of groups. Pure; no scripts, nothing from
// elsewhere.
#pragma once

#include <string>

#include "cluster/validate.h"

namespace fathom::cluster {

std::string validation_html(const ValidationResult& result);

}  // namespace fathom::cluster
