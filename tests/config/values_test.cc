#include "base/units.h"
#include "text.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

ServiceModel only_service(std::string_view text, const Files& files = {}) {
  Parsed parsed = parse_text(text, files);
  EXPECT_EQ(heads(parsed.problems), Lines{});
  return parsed.services.size() == 1 ? parsed.services[0] : ServiceModel{};
}

Lines command_problems(std::string_view value) {
  return heads(parse_text("[service.a]\ncommand = " + std::string(value) + "\n").problems);
}

TEST(Values, EveryKeyReachesTheModel) {
  const ServiceModel got = only_service(R"([service.a]
command = ["./srv", "--port", "{port}"]
directory = "/srv/a"
venv = ".venv"
env = { B = "2", A = "1" }
ready = { tcp = true, within = "1h30m" }
stop = { grace = "0s", drain = "2m" }
restart = "always"
backoff = { first = "20ms", max = "1s", reset = "14d" }
containment = "pidns"
on_anchor_death = "kill"
pid_file = "run/a.pid"
autostart = false
)");
  ServiceModel want;
  want.name = "a";
  want.command = {"./srv", "--port", "{port}"};
  want.directory = "/srv/a";
  want.venv = "/srv/a/.venv";
  want.env = {{"B", "2"}, {"A", "1"}};
  want.ready = {ReadyKind::tcp, "", "", 90min};
  want.grace = 0s;
  want.drain = 2min;
  want.restart = RestartPolicy::always;
  want.backoff = {20ms, 1s, 336h};
  want.containment = ContainmentWish::pidns;
  want.on_anchor_death = OnAnchorDeath::kill;
  want.pid_file = "/srv/a/run/a.pid";
  want.autostart = false;
  EXPECT_EQ(got, want);
}

TEST(Values, WhatIsReleasedIsPatterns) {
  const auto service =
      only_service("[service.a]\ncommand=[\"x\"]\nrelease=[\"*/render.py *\", \"tmux ?*\"]\n");
  EXPECT_EQ(service.release, (std::vector<std::string>{"*/render.py *", "tmux ?*"}));
  const std::string expected =
      ", expected at most 16 patterns with * and ? of whole command lines: [\"*/worker.py *\"]";
  EXPECT_EQ(problems_of("release = [\"\", \"*\", \"b\"]\n"),
            (Lines{"3:12: a pattern of 'release' is empty" + expected,
                   "3:16: a pattern of 'release' would hand over every process" + expected}));
  EXPECT_EQ(problems_of("release = \"b\"\n").size(), 1U);
  std::string many;
  for (int n = 0; n < 17; ++n) many += "\"b\",";
  EXPECT_EQ(problems_of("release = [" + many + "]\n").size(), 1U);
  EXPECT_EQ(
      problems_of("release = [\"b\"]\ncontainment = \"pidns\"\n"),
      Lines{"3:11: 'release' hands nothing over with containment = \"pidns\": nobody leaves a "
            "PID namespace, and it ends as a whole, expected another containment, or no "
            "'release'"});
}

TEST(Values, WhatLiesUnusedInATempFolderHasAnAgeLimit) {
  const auto read = [](const std::string& value) {
    return only_service("[service.a]\ncommand=[\"x\"]\nprivate_tmp = " + value + "\n");
  };
  EXPECT_EQ(read("true").private_tmp_max_age, std::chrono::days(10));
  EXPECT_FALSE(read("false").private_tmp);
  EXPECT_TRUE(read("{}").private_tmp);
  EXPECT_EQ(read("{ max_age = \"36h\" }").private_tmp_max_age, std::chrono::hours(36));
  EXPECT_TRUE(read("{ max_age = \"off\" }").private_tmp);
  EXPECT_FALSE(read("{ max_age = \"off\" }").private_tmp_max_age);
  EXPECT_EQ(live_settings(read("{ max_age = \"off\" }")).temp_max_age.count(), 0);
  EXPECT_EQ(problems_of("private_tmp = { max_age = \"0s\", maxage = \"1d\" }\n").size(), 2U);
  EXPECT_EQ(problems_of("private_tmp = { max_age = 10 }\n").size(), 1U);
}

TEST(Values, LimitsOfTheTreeAndATempFolderOfItsOwn) {
  const ServiceModel got = only_service(
      "[service.a]\ncommand=[\"x\"]\ncpu_weight = 50\nmemory_max = \"1.5GiB\"\n"
      "private_tmp = true\n");
  EXPECT_EQ(got.limits, (TreeLimits{50, Bytes{3ULL << 29}}));
  EXPECT_TRUE(got.private_tmp);
  EXPECT_EQ(
      problems_of("cpu_weight = 0\nmemory_max = \"64\"\nprivate_tmp = 1\n"),
      (Lines{"3:14: 'cpu_weight' is no such number, expected 1 to 10000",
             "4:14: 'memory_max' is no size: '64', expected a size such as \"64MiB\", 4MiB to "
             "64TiB",
             "5:15: 'private_tmp' is an integer, expected true, false or a table: { max_age = "
             "\"10d\" }"}));
  EXPECT_EQ(problems_of("memory_max = \"1KiB\"\n"),
            Lines{"3:14: 'memory_max' is out of range, expected 4MiB to 64TiB"});
}

TEST(Values, RelativePathsBeginInTheDirectoryAndThatInTheFilesFolder) {
  const ServiceModel got =
      only_service("[service.a]\ncommand = [\"x\"]\ndirectory = \"./app\"\nvenv = \".venv\"\n");
  EXPECT_EQ(got.directory, "/etc/gpuward/app");
  EXPECT_EQ(got.venv, "/etc/gpuward/app/.venv");
  EXPECT_EQ(only_service("[service.a]\ncommand=[\"x\"]\ndirectory=\".\"\n").directory,
            "/etc/gpuward");
  EXPECT_EQ(only_service("[service.a]\ncommand=[\"x\"]\npid_file=\"a.pid\"\n").pid_file,
            "/etc/gpuward/a.pid");
}

TEST(Values, AllProblemsAreToldInTheOrderOfTheLines) {
  EXPECT_EQ(heads(parse_text(R"([service.a]
autostart = "yes"
restart = true
directory = 7
[service.b]
command = []
stop = { grace = 10, drain = "-1s" }
)")
                      .problems),
            (Lines{"1:10: service 'a' has no 'command', expected command = [\"program\", "
                   "\"argument\", ...]",
                   "2:13: 'autostart' is a string, expected true or false",
                   "3:11: 'restart' is a boolean, expected \"on-failure\", \"always\" or \"never\"",
                   "4:13: 'directory' is an integer, expected a string: \"7\"",
                   "6:11: 'command' is empty, expected at least the program",
                   "7:18: 'stop.grace' has no unit, expected \"10s\"",
                   "7:30: 'stop.drain' is negative, expected a time such as \"10s\", \"5m\" or "
                   "\"1h30m\" (units ms, s, m, h, d)"}));
}

TEST(Values, WrongTypesSayWhatIsThere) {
  EXPECT_EQ(
      problems_of("venv = [1]\nenv = \"A=1\"\nstop = \"10s\"\nready = true\nbackoff = 1\n"
                  "env_file = 1.5\npid_file = 2024-01-01\n"),
      (Lines{"3:8: 'venv' is a list, expected a string",
             "4:7: 'env' is a string, expected a table: { NAME = \"value\" }",
             "5:8: 'stop' is a string, expected a table: { grace = \"10s\", drain = \"30s\" }",
             "6:9: 'ready' is a boolean, expected a table: { http = \"/path\", within = "
             "\"60s\" }",
             "7:11: 'backoff' is an integer, expected a table: { first = \"1s\", max = "
             "\"60s\", reset = \"10m\" }",
             "8:12: 'env_file' is a number, expected a string: \"1.5\"",
             "9:12: 'pid_file' is a date or time, expected a string"}));
}

TEST(Values, WordsThatAreNotKnownSayWhichAre) {
  EXPECT_EQ(
      problems_of("containment = \"jail\"\non_anchor_death = \"die\"\nrestart = \"no\"\n"),
      (Lines{
          "3:15: 'containment' does not know 'jail', expected \"auto\", \"cgroup\", \"pidns\" or "
          "\"subreaper\"",
          "4:19: 'on_anchor_death' does not know 'die', expected \"keep\" or \"kill\"",
          "5:11: 'restart' does not know 'no', expected \"on-failure\", \"always\" or "
          "\"never\""}));
}

TEST(Values, TimesNeedUnitsAndARange) {
  const std::string times =
      "expected a time such as \"10s\", \"5m\" or \"1h30m\" (units ms, s, m, h, d)";
  EXPECT_EQ(problems_of("stop = { grace = \"10\", drain = 1.5 }\n"),
            (Lines{"3:18: 'stop.grace' has no unit, expected \"10s\"",
                   "3:32: 'stop.drain' has no unit, expected \"1.5s\""}));
  EXPECT_EQ(problems_of("stop = { grace = \"1 s\", drain = \"10sec\" }\n"),
            (Lines{"3:18: 'stop.grace' is no time: '1 s', expected \"1s\"",
                   "3:33: 'stop.drain' is no time: '10sec', " + times}));
  EXPECT_EQ(problems_of("stop = { grace = -5, drain = \"25h\" }\n"),
            (Lines{"3:18: 'stop.grace' is negative, " + times,
                   "3:30: 'stop.drain' is out of range, expected 0s to 24h"}));
  EXPECT_EQ(problems_of("stop = { grace = \"\", drain = inf }\n"),
            (Lines{"3:18: 'stop.grace' is no time: '', " + times,
                   "3:30: 'stop.drain' is a number, " + times}));
  EXPECT_EQ(problems_of("ready = { tcp = true, within = \"0s\" }\n"),
            Lines{"3:32: 'ready.within' is out of range, expected 1ms to 24h"});
  EXPECT_EQ(problems_of("ready = { tcp = true, within = \"99999999999d\" }\n"),
            Lines{"3:32: 'ready.within' is out of range, expected 1ms to 24h"});
  EXPECT_EQ(problems_of("backoff = { first = \"25h\", reset = true }\n"),
            (Lines{"3:21: 'backoff.first' is out of range, expected 0s to 24h",
                   "3:36: 'backoff.reset' is a boolean, " + times}));
}

TEST(Values, BackoffFirstMayNotExceedMax) {
  EXPECT_EQ(problems_of("backoff = { first = \"10s\", max = \"5s\" }\n"),
            Lines{"3:34: 'backoff.first' (10.0 s) is longer than 'backoff.max' (5.0 s), expected "
                  "first <= max"});
  EXPECT_EQ(problems_of("backoff = { first = \"2m\" }\n"),
            Lines{"3:21: 'backoff.first' (2 min) is longer than 'backoff.max' (1 min, the "
                  "default), expected first <= max"});
}

TEST(Values, RestartIsOneOfThree) {
  EXPECT_EQ(problems_of("restart = \"on_failure\"\n"),
            Lines{"3:11: 'restart' does not know 'on_failure', expected \"on-failure\", "
                  "\"always\" or \"never\""});
}

TEST(Command, IsAListOfWords) {
  EXPECT_EQ(command_problems("\"python app.py --port 1\""),
            Lines{"2:11: 'command' is a string, expected a list of words: [\"python\", "
                  "\"app.py\", \"--port\", \"1\"]"});
  EXPECT_EQ(command_problems("\"a | b\""),
            Lines{"2:11: 'command' is a string, expected a list of words"});
  EXPECT_EQ(command_problems("{ a = 1 }"),
            Lines{"2:11: 'command' is a table, expected a list of strings"});
  EXPECT_EQ(command_problems("[\"srv\", 8080]"),
            Lines{"2:19: 'command[1]' is an integer, expected a string: \"8080\""});
  EXPECT_EQ(command_problems("[\"\", \"x\"]"),
            Lines{"2:12: the first word of 'command' is empty, expected a program"});
  EXPECT_EQ(command_problems("[\"srv\", \"\"]"), Lines{});
  EXPECT_EQ(command_problems("[\"srv\", \"a\\u0000b\"]"),
            Lines{"2:19: 'command[1]' holds a NUL byte, expected text"});
  EXPECT_EQ(command_problems("[\"~/bin/srv\"]"),
            Lines{"2:12: the program begins with '~', which is not expanded, expected a full path "
                  "or a name to be found in PATH"});
}

TEST(Command, UnknownPlaceholdersAreRefused) {
  EXPECT_EQ(command_problems("[\"srv\", \"{prot}\"]"),
            Lines{"2:19: unknown placeholder '{prot}'; did you mean '{port}'?"});
  EXPECT_EQ(command_problems("[\"srv\", \"--p={PORT}\"]"),
            Lines{"2:19: unknown placeholder '{PORT}'; did you mean '{port}'?"});
  EXPECT_EQ(command_problems("[\"srv\", \"{gpu_id}\"]"),
            Lines{"2:19: unknown placeholder '{gpu_id}', expected {port}, the only one; for a "
                  "literal word in braces add a blank: \"{ gpu_id }\""});
  EXPECT_EQ(command_problems("[\"sh\", \"-c\", \"srv ${port}\"]"),
            Lines{"2:24: '${port}' would become '$' and the port, expected {port}"});
  EXPECT_EQ(problems_of("env = { A = \"{pot}\" }\n"),
            Lines{"3:13: unknown placeholder '{pot}'; did you mean '{port}'?"});
}

TEST(Command, AMisspeltPortIsToldOnce) {
  EXPECT_EQ(
      heads(parse_text("[service.a]\ncommand=[\"x\", \"{prot}\"]\nready={tcp=true}\n").problems),
      Lines{"2:15: unknown placeholder '{prot}'; did you mean '{port}'?"});
}

TEST(Command, OtherBracesArePassedOn) {
  EXPECT_EQ(command_problems(
                R"(['srv', '{"a": {"b": 1}}', '{}', 'x{3}', '${HOME}', '{{name}}', '{a,b}'])"),
            Lines{});
}

TEST(Paths, AreNotExpanded) {
  EXPECT_EQ(problems_of("directory = \"~/app\"\nvenv = \"$HOME/v\"\npid_file = \"\"\n"),
            (Lines{"3:13: 'directory' begins with '~', which is not expanded, expected a full path",
                   "4:8: 'venv' begins with '$', which is not expanded, expected a full path",
                   "5:12: 'pid_file' is empty, expected a path"}));
}

TEST(Env, NamesAreChecked) {
  EXPECT_EQ(problems_of("[service.a.env]\n\"\" = \"1\"\n\"A=B\" = \"1\"\nN = 8080\n"),
            (Lines{"4:1: the name of a variable is empty, expected NAME = \"value\"",
                   "5:1: the name of a variable holds '=', expected NAME = \"value\"",
                   "6:5: 'env.N' is an integer, expected a string: \"8080\""}));
}

TEST(Env, TableWinsOverTheFile) {
  const ServiceModel got = only_service(
      "[service.a]\ncommand = [\"x\"]\ndirectory = \"/d\"\nenv_file = \".env\"\n"
      "env = { B = \"table\", C = \"3\" }\n",
      {{"/d/.env", "A=1\nB=file\n"}});
  EXPECT_EQ(got.env_file, "/d/.env");
  EXPECT_EQ(got.env, (std::vector<EnvVar>{{"A", "1"}, {"B", "table"}, {"C", "3"}}));
}

TEST(Env, ProblemsOfTheFileComeWithTheirOwnPlaceAfterTheOthers) {
  EXPECT_EQ(problems_of("env_file = \"/e\"\nzebras = 1\n", {{"/e", "A=1\nfoo\n"}}).back(),
            "/e:2:1: no '=' on this line, expected NAME=VALUE");
  EXPECT_EQ(problems_of("env_file = \"/gone\"\n"),
            Lines{"3:12: cannot read 'env_file': No such file or directory, expected a readable "
                  "file at '/gone'"});
}

TEST(Env, CommandAndEnvironmentFitOneRecord) {
  const std::string big(60'000, 'x');
  EXPECT_EQ(problems_of("env = { A = \"" + big + "\" }\n"),
            Lines{"1:10: 'command' and 'env' have 60014 bytes together, expected at most 49152"});
}

TEST(Ready, HttpIsAPathOrANumericAddress) {
  auto ready = [](std::string_view value) {
    return only_service("[service.a]\ncommand=[\"x\", \"{port}\"]\nready = { http = \"" +
                        std::string(value) + "\" }\n")
        .ready;
  };
  EXPECT_EQ(ready("/config"), (Readiness{ReadyKind::http, "", "/config", 60s}));
  EXPECT_EQ(ready("127.0.0.1:7860/config"),
            (Readiness{ReadyKind::http, "127.0.0.1:7860", "/config", 60s}));
  EXPECT_EQ(ready("[::1]:80/"), (Readiness{ReadyKind::http, "[::1]:80", "/", 60s}));
  EXPECT_EQ(ready("10.0.0.1:{port}/a?b=c"),
            (Readiness{ReadyKind::http, "10.0.0.1:{port}", "/a?b=c", 60s}));
}

TEST(Ready, HttpSaysWhatIsWrong) {
  auto one = [](std::string_view value) {
    const Lines found = problems_of("ready = { http = \"" + std::string(value) + "\" }\n");
    return found.size() == 1 ? found[0] : std::to_string(found.size()) + " problems";
  };
  EXPECT_EQ(one("localhost:7860/config"),
            "3:18: 'ready.http': 'localhost' is not a numeric address (static programs do not "
            "resolve names), expected \"127.0.0.1:7860\"");
  EXPECT_EQ(one("http://127.0.0.1:7860/"),
            "3:18: 'ready.http': 'http://127.0.0.1:7860/' is a URL, expected "
            "\"127.0.0.1:7860/path\", without \"http://\"");
  EXPECT_EQ(one("127.0.0.1/config"),
            "3:18: 'ready.http': '127.0.0.1' has no port, expected a numeric address such as "
            "\"127.0.0.1:7860\"");
  EXPECT_EQ(one("127.0.0.1:7860"),
            "3:18: 'ready.http': '127.0.0.1:7860' has no path, expected \"127.0.0.1:7860/\"");
  EXPECT_EQ(one("config"),
            "3:18: 'ready.http': 'config' is neither a path nor an address, expected \"/path\" or "
            "\"127.0.0.1:7860/path\"");
  EXPECT_EQ(one("127.0.0.1:70000/"),
            "3:18: 'ready.http': bad port '70000', expected 1 to 65535, or {port}");
  EXPECT_EQ(one("/a b"),
            "3:18: 'ready.http': bad path '/a b', expected printable ASCII without blanks, at most "
            "2000 bytes");
  EXPECT_EQ(one("/a\\r\\nHost: x"),
            "3:18: 'ready.http': bad path '/a??Host: x', expected printable ASCII without blanks, "
            "at most 2000 bytes");
  EXPECT_EQ(one("::1:80/"),
            "3:18: 'ready.http': '::1:80' is not an address and a port, expected \"[::1]:7860\"");
}

TEST(Ready, TcpIsTrueOrANumericAddress) {
  EXPECT_EQ(only_service("[service.a]\ncommand=[\"x\"]\nready={tcp=\"[::1]:5000\"}\n").ready,
            (Readiness{ReadyKind::tcp, "[::1]:5000", "", 60s}));
  EXPECT_EQ(problems_of("ready = { tcp = false }\n"),
            Lines{"3:17: 'ready.tcp' is false, expected true for {port}, or an address such as "
                  "\"127.0.0.1:7860\""});
  EXPECT_EQ(problems_of("ready = { tcp = 7860 }\n"),
            Lines{"3:17: 'ready.tcp' is an integer, expected true for {port}, or an address such "
                  "as \"127.0.0.1:7860\""});
  EXPECT_EQ(problems_of("ready = { tcp = \"gpu-box:80\" }\n"),
            Lines{"3:17: 'ready.tcp': 'gpu-box' is not a numeric address (static programs do not "
                  "resolve names), expected \"127.0.0.1:80\""});
}

TEST(Ready, TheOwnPortNeedsAServiceThatWasToldIt) {
  auto one = [](std::string_view ready) {
    return heads(
        parse_text("[service.a]\ncommand=[\"x\"]\nready = " + std::string(ready) + "\n").problems);
  };
  EXPECT_EQ(one("{ http = \"/config\" }"),
            Lines{"3:18: \"/config\" means the replica's own port, but neither 'command' nor 'env' "
                  "holds {port}, expected {port} where the service takes its port, or a fixed "
                  "port: \"127.0.0.1:7860/config\""});
  EXPECT_EQ(one("{ tcp = true }"),
            Lines{"3:17: true means the replica's own port, but neither 'command' nor 'env' holds "
                  "{port}, expected {port} where the service takes its port, or a fixed port: "
                  "\"127.0.0.1:7860\""});
  only_service("[service.a]\ncommand=[\"x\"]\nenv={P=\"{port}\"}\nready={tcp=true}\n");
}

TEST(Ready, OneProbeAndSomethingToWaitFor) {
  EXPECT_EQ(problems_of("ready = { http = \"/\", tcp = true }\n"),
            Lines{"3:23: 'ready.http' and 'ready.tcp' are both given, expected one of them"});
  EXPECT_EQ(problems_of("ready = { within = \"5s\" }\n"),
            Lines{"3:11: 'ready.within' has nothing to work on, expected 'http' or 'tcp' or "
                  "'notify' or 'log' beside it"});
}

TEST(Ready, NotifyIsTrueOrNothing) {
  EXPECT_EQ(only_service("[service.a]\ncommand=[\"x\"]\nready={notify=true}\n").ready.kind,
            ReadyKind::notify);
  EXPECT_EQ(problems_of("ready = { notify = false }\n"),
            Lines{"3:20: 'ready.notify' is false, expected true, or nothing"});
  EXPECT_EQ(problems_of("ready = { notify = \"yes\" }\n"),
            Lines{"3:20: 'ready.notify' is a string, expected true, or nothing"});
}

TEST(Ready, LogIsPartOfALine) {
  const auto service = only_service("[service.a]\ncommand=[\"x\"]\nready={log=\"Running on\"}\n");
  EXPECT_EQ(service.ready.kind, ReadyKind::log);
  EXPECT_EQ(service.ready.text, "Running on");
  for (const char* bad : {"\"\"", "\"a\\nb\""})
    EXPECT_EQ(problems_of("ready = { log = " + std::string(bad) + " }\n"),
              Lines{"3:17: 'ready.log' is no part of one line, expected 1 to 200 bytes that the "
                    "service prints when it is ready"});
}

TEST(Live, ReadsEveryKey) {
  const auto service = only_service(
      "[service.a]\ncommand=[\"x\",\"{port}\"]\n"
      "live={http=\"/health\",every=\"5s\",failures=5}\n");
  EXPECT_EQ(service.live.kind, LiveKind::http);
  EXPECT_EQ(service.live.path, "/health");
  EXPECT_EQ(service.live.every, 5s);
  EXPECT_EQ(service.live.failures, 5U);
  const auto watchdog =
      only_service("[service.a]\ncommand=[\"x\"]\nlive={notify=true,every=\"30s\"}\n");
  EXPECT_EQ(watchdog.live.kind, LiveKind::notify);
}

TEST(Live, SaysWhatIsWrong) {
  EXPECT_EQ(problems_of("live = { every = \"5s\" }\n"),
            Lines{"3:10: 'live.every' has nothing to work on, expected 'http' or 'notify' beside "
                  "it"});
  EXPECT_EQ(problems_of("live = { http = \"127.0.0.1:1/x\", failures = 0 }\n"),
            Lines{"3:45: 'live.failures' is no number of failures, expected 1 to 100"});
  EXPECT_EQ(
      problems_of("live = { notify = true, failures = 4 }\n"),
      Lines{"3:25: 'live.failures' has no meaning with 'live.notify', expected 'every' alone: "
            "so long it may be silent"});
  EXPECT_EQ(problems_of("live = { notify = true, every = \"1ms\" }\n"),
            Lines{"3:33: 'live.every' is out of range, expected 100ms to 24h"});
  EXPECT_EQ(problems_of("live = { http = \"127.0.0.1:1/x\", notify = true }\n"),
            Lines{"3:34: 'live.http' and 'live.notify' are both given, expected one of them"});
}

TEST(Rights, ReadsEveryKey) {
  const auto service = only_service(
      "[service.a]\ncommand=[\"x\"]\nuser=\"xray\"\ngroups=[\"video\",\"44\"]\n"
      "umask=\"0027\"\nlimits={nofile=65536,memlock=\"unlimited\",core=\"1MiB\",stack=0}\n"
      "caps=[\"net_bind_service\"]\nno_new_privs=true\noom_score_adj=-5\nnice=19\n");
  const auto& rights = service.rights;
  EXPECT_EQ(rights.user, "xray");
  EXPECT_EQ(rights.groups, (std::vector<std::string>{"video", "44"}));
  EXPECT_EQ(rights.umask, 027U);
  EXPECT_EQ(rights.limits, (std::vector<Limit>{{LimitKind::nofile, 65536},
                                               {LimitKind::memlock, kUnlimited},
                                               {LimitKind::core, 1 << 20},
                                               {LimitKind::stack, 0}}));
  EXPECT_EQ(rights.capabilities, std::uint64_t{1} << 10);
  EXPECT_TRUE(rights.no_new_privileges);
  EXPECT_EQ(rights.oom_score_adj, -5);
  EXPECT_EQ(rights.nice, 19);
}

TEST(Rights, NoCapabilitiesAreNotTheSameAsNoWord) {
  EXPECT_EQ(only_service("[service.a]\ncommand=[\"x\"]\ncaps=[]\n").rights.capabilities, 0U);
  EXPECT_FALSE(only_service("[service.a]\ncommand=[\"x\"]\n").rights.capabilities);
}

TEST(Rights, SaysWhatIsWrong) {
  EXPECT_EQ(problems_of("umask = \"0899\"\n"),
            Lines{"3:9: 'umask' is none: '0899', expected octal digits as a string: \"0027\""});
  EXPECT_EQ(problems_of("caps = [\"fly\"]\n"),
            Lines{"3:9: unknown capability 'fly', expected a name of capabilities(7), as "
                  "\"net_bind_service\""});
  EXPECT_EQ(problems_of("groups = [\"video\"]\n"),
            Lines{"3:10: 'groups' has no 'user' to belong to, expected user = \"name\" beside it"});
  EXPECT_EQ(problems_of("nice = 20\n"), Lines{"3:8: 'nice' is no such number, expected -20 to 19"});
  EXPECT_EQ(problems_of("limits = { nofile = \"64KiB\", core = 5 }\n"),
            (Lines{"3:21: 'limits.nofile' is no limit, expected a number, or \"unlimited\"",
                   "3:37: 'limits.core' is no limit, expected a size such as \"64MiB\", 0 or "
                   "\"unlimited\""}));
}

TEST(Log, ReadsSizesAndTimes) {
  const auto service = only_service(
      "[service.a]\ncommand=[\"x\"]\n"
      "log={size=\"10MiB\",total=\"200MiB\",age=\"90d\",rate=\"1MiB/s\"}\n");
  EXPECT_EQ(service.log.size, 10_MiB);
  EXPECT_EQ(service.log.total, 200_MiB);
  EXPECT_EQ(service.log.age, std::chrono::days(90));
  EXPECT_EQ(service.log.rate, 1_MiB);
}

TEST(Log, SaysWhatIsWrong) {
  EXPECT_EQ(problems_of("log = { size = \"2GiB\" }\n"),
            Lines{"3:16: 'log.total' (1.0 GiB) is less than 'log.size' (2.0 GiB), expected size <= "
                  "total"});
  EXPECT_EQ(problems_of("log = { rate = \"1MiB\" }\n"),
            Lines{"3:16: 'log.rate' is no size: '1MiB', expected a size such as \"64MiB/s\", "
                  "1KiB/s to 1TiB/s"});
  EXPECT_EQ(problems_of("log = { size = \"1B\" }\n"),
            Lines{"3:16: 'log.size' is out of range, expected 4KiB to 1TiB"});
}

}  // namespace
}  // namespace gpuward::config
