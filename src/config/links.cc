#include "config/links.h"

#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"
#include "domain/order.h"

namespace gpuward::config {
namespace {

class Links {
 public:
  explicit Links(Parsed& parsed) : parsed_(parsed) {}

  void check() {
    for (const auto& [name, origin] : parsed_.origins) known_.push_back(name);
    take(parsed_.services);
    take(parsed_.broken);
    for (const auto& circle : circles(links_)) add_circle(circle);
    for (const auto& name : at_fault_) mark_broken(parsed_, name);
  }

 private:
  void take(const std::vector<ServiceModel>& services) {
    for (const auto& service : services) {
      check_names(service, "after", service.after);
      check_names(service, "requires", service.needs);
      if (auto links = links_of(service.needs, service.after); !links.empty())
        links_[service.name] = std::move(links);
    }
  }

  void check_names(const ServiceModel& service, std::string_view key,
                   const std::vector<std::string>& names) {
    for (const auto& name : names) {
      if (parsed_.partial || parsed_.origins.contains(name)) continue;
      std::string what =
          in_quotes(key) + " names " + in_quotes(name) + ", but there is no such service";
      const auto near = nearest(name, known_);
      if (!near.empty() && near != service.name)
        what += "; did you mean '" + std::string(near) + "'?";
      const Place& place = parsed_.origins[service.name].of(link_key(key, name));
      parsed_.problems.push_back(problem_at(place, std::move(what)));
      at_fault_.push_back(service.name);
    }
  }

  // Where @p from names @p to.
  const Place& place_of(const std::string& from, const std::string& to) const {
    const Origin& origin = parsed_.origins.find(from)->second;
    const auto at = origin.keys.find(link_key("requires", to));
    return at != origin.keys.end() ? at->second : origin.of(link_key("after", to));
  }

  // Told at the place of its first link: "a -> b (x.toml:3:10) -> a (y.toml:7:10)".
  void add_circle(const std::vector<std::string>& circle) {
    std::string way = circle.front();
    for (std::size_t i = 0; i < circle.size(); ++i) {
      const std::string& to = circle[(i + 1) % circle.size()];
      way += " -> " + to + " (" + render(place_of(circle[i], to)) + ")";
      at_fault_.push_back(circle[i]);
    }
    const Place& first = place_of(circle.front(), circle[1 % circle.size()]);
    parsed_.problems.push_back(problem_at(first, "services wait for each other: " + way));
  }

  Parsed& parsed_;
  StartLinks links_;
  std::vector<std::string_view> known_;
  std::vector<std::string> at_fault_;
};

}  // namespace

void check_links(Parsed& parsed) {
  Links(parsed).check();
}

}  // namespace gpuward::config
