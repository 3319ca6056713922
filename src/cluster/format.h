// Quantities for people: three figures and a unit. For tables, the report and the page's text; machines read JSON.
#pragma once

#include <string>

namespace fathom::cluster {

std::string format_usd(double usd);                            // "$4.61 B", "-$3.2 M", "$0.42"
std::string format_watts(double watts);                        // "154 MW"
std::string format_seconds(double seconds);                    // "3.42 s", "12.0 min", "54.0 days"
std::string format_bytes(double bytes);                        // "72.1 GB" (powers of ten)
std::string format_rate(double per_second, const char* unit);  // "1.62 M tokens/s"
std::string format_count(double count);                        // "15.6 T", "270 B"
std::string format_share(double share);                        // "97.2 %"
std::string format_number(double value);                       // "100,000"; below 100 with three figures

}  // namespace fathom::cluster
