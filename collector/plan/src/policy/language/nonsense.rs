// Each policy that is refused, the line of the problem and what is said about it.
[
    Nonsense {
        text: "!",
        line: 1,
        message: "the policy is empty: begin with `apiVersion: palisade.dev/v1alpha1`",
    },
    Nonsense {
        text: "![]",
        line: 1,
        message: "expected the fields of a policy, not a list",
    },
    Nonsense {
        text: "!kind: RebootPolicy\n",
        line: 1,
        message: "a policy lacks `apiVersion`: add `apiVersion: palisade.dev/v1alpha1`",
    },
    Nonsense {
        text: "!apiVersion: palisade.dev/v1\n\
               kind: RebootPolicy\n",
        line: 1,
        message: "expected `palisade.dev/v1alpha1`, not `palisade.dev/v1`",
    },
    Nonsense {
        text: "!apiVersion: palisade.dev/v1alpha1\n\
               kind: Policy\n",
        line: 2,
        message: "expected `RebootPolicy`, not `Policy`",
    },
    Nonsense {
        text: "metadata: {name: x}\n",
        line: 3,
        message: "a policy has no `metadata`: remove it, it is named by its file",
    },
    Nonsense {
        text: "spec: {}\n",
        line: 3,
        message: "write the fields of `spec` without it, at the left margin",
    },
    Nonsense {
        text: "pool: []\n",
        line: 3,
        message: "a policy has no field `pool`: write `pools`",
    },
    Nonsense {
        text: "pools: {}\n",
        line: 3,
        message: "expected a list: begin each item with `- `, not fields",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - all\n",
        line: 4,
        message: "expected the fields of a pool, not `all`",
    },
    Nonsense {
        text: "pools:\n",
        line: 3,
        message: "`pools` has no value: give it one, or remove the line",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 max_unavailable: 10%\n",
        line: 4,
        message: "the cluster has no field `max_unavailable`: write `maxUnavailable`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 maxUnavailable: 101%\n",
        line: 4,
        message: "expected a share of `0%` to `100%`, not `101%`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 maxUnavailable: -1\n",
        line: 4,
        message: "expected a number of nodes such as `2`, or a share such as `10%`, not `-1`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 maxUnavailable: \"3\"\n",
        line: 4,
        message: "write `3` without quotes",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 maxUnavailable: a few\n",
        line: 4,
        message: "expected a number of nodes such as `2`, or a share such as `10%`, not `a few`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 maxUnavailable: 2.5\n",
        line: 4,
        message: "expected a number of nodes such as `2`, or a share such as `10%`, not `2.5`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 paused: true\n",
        line: 4,
        message: "expected the reason in words, such as `moving to the new rack, until Friday`; remove the line if nothing is to be stopped",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 paused: \"\"\n",
        line: 4,
        message: "expected a reason of 1 to 256 letters, not 0",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 deadManPercent: 20%\n",
        line: 4,
        message: "write `20`: this field is always in percent",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 deadManPercent: 0\n",
        line: 4,
        message: "expected a whole number from 1 to 100, not `0`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 singleNode: yes\n",
        line: 4,
        message: "expected `true` or `false`, not `yes`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 nodeLease: Medik8s\n",
        line: 4,
        message: "expected 1 to 63 lowercase letters, digits and inner dashes, not `Medik8s`",
    },
    Nonsense {
        text: "cluster:\n\
               \x20 controlPlane: {selector: {}}\n",
        line: 4,
        message: "this selects every node: name a label of the control plane",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - selector: {}\n",
        line: 4,
        message: "a pool lacks `name`: add `name: workers`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n",
        line: 4,
        message: "a pool lacks `selector`: add `selector: {}`, which is every node, or `selector: {matchLabels: {tier: db}}`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: default, selector: {}}\n",
        line: 4,
        message: "the name `default` is that of the nodes that no pool selects: choose another",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: Web_1, selector: {}}\n",
        line: 4,
        message: "expected 1 to 63 lowercase letters, digits and inner dashes, not `Web_1`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {tier: db}}\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {tier: web}}\n",
        line: 6,
        message: "the name `a` is taken: choose another",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: all\n\
               \x20   selector: {}\n\
               \x20 - name: db\n\
               \x20   selector: {matchLabels: {tier: db}}\n",
        line: 6,
        message: "no node can be in `db`: `all` comes first and selects the same nodes; write `db` above it, or narrow its selector",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {tier: db}}\n\
               \x20 - name: b\n\
               \x20   selector: {matchLabels: {tier: db, disk: ssd}}\n",
        line: 6,
        message: "no node can be in `b`: `a` comes first and selects the same nodes; write `b` above it, or narrow its selector",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {example.com/tier: db}\n",
        line: 5,
        message: "write labels below `matchLabels`: `matchLabels: {example.com/tier: ...}`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {tier: db}\n",
        line: 5,
        message: "write labels below `matchLabels`: `matchLabels: {tier: ...}`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {tier: true}}\n",
        line: 5,
        message: "expected text, not `true`: put it in quotes",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {tier: }}\n",
        line: 5,
        message: "a label needs a value: write `\"\"` for the empty one",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchLabels: {\"my tier\": x}}\n",
        line: 5,
        message: "`my tier` is no label: expected up to 63 letters, digits, `-`, `_`, `.`, after a prefix and `/` if it has one",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchExpressions: [{key: tier, operator: in, values: [x]}]}\n",
        line: 5,
        message: "expected `In`, not `in`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchExpressions: [{key: tier, operator: In}]}\n",
        line: 5,
        message: "`In` and `NotIn` need values: add `values: [db, web]`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {matchExpressions: [{key: tier, operator: Exists, values: [x]}]}\n",
        line: 5,
        message: "`Exists` and `DoesNotExist` take no values: remove `values`, or write `In`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, mode: automatic}\n",
        line: 4,
        message: "expected one of `approve`, `auto`, `plan`, `report`, not `automatic`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, mode: true}\n",
        line: 4,
        message: "expected one of `approve`, `auto`, `plan`, `report`, not `true`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, stable: 10}\n",
        line: 4,
        message: "`10` has no unit: write `10s`, `10m`, `10h` or `10d`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, stable: 10 minutes}\n",
        line: 4,
        message: "expected a duration such as `90s`, `10m`, `1h30m`, `30d`, not `10 minutes`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, minimumInterval: 0s}\n",
        line: 4,
        message: "expected more than no time at all, not `0s`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, mustBy: 999999d}\n",
        line: 4,
        message: "expected at most ten years, `3650d`, not `999999d`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, pastMustBy: [window, hold]}\n",
        line: 4,
        message: "no urgency opens the gate `hold`: remove it; these open: `unstable`, `window`, `fit`, `alert`, `pod`, `capacity`, `backoff`, `order`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, pastMustBy: [windows]}\n",
        line: 4,
        message: "expected `window`, not `windows`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, pastMustBy: [urgency]}\n",
        line: 4,
        message: "expected one of `unstable`, `window`, `fit`, `alert`, `pod`, `capacity`, `backoff`, `order`, not `urgency`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, windows: []}\n",
        line: 4,
        message: "no windows would mean always: remove `windows` for that, or use `paused`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - {start: \"22:00\", end: \"04:00\", zone: UTC}\n",
        line: 7,
        message: "a window lacks `days`: add `days: [mon-fri]`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - {days: [], start: \"22:00\", end: \"04:00\", zone: UTC}\n",
        line: 7,
        message: "a window without days never opens: name days, such as `[mon-fri]`, or `[daily]`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - {days: [someday], start: \"22:00\", end: \"04:00\", zone: UTC}\n",
        line: 7,
        message: "expected a day such as `mon`, a range such as `mon-fri`, or `daily`, not `someday`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - days: [daily]\n\
               \x20       start: \"22:00\"\n\
               \x20       end: \"04:00\"\n\
               \x20       zone: Berlin\n",
        line: 10,
        message: "no time zone is named `Berlin`: write `Europe/Berlin`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - days: [daily]\n\
               \x20       start: \"22:00\"\n\
               \x20       end: \"04:00\"\n\
               \x20       zone: Middle/Earth\n",
        line: 10,
        message: "no time zone is named `Middle/Earth`: write a name of the IANA database such as `Europe/Berlin`, or `UTC`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - days: [daily]\n\
               \x20       start: 10pm\n\
               \x20       end: \"04:00\"\n\
               \x20       zone: UTC\n",
        line: 8,
        message: "expected a time of day with two digits each, such as `\"04:30\"`, at most `\"24:00\"`, not `10pm`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - days: [daily]\n\
               \x20       start: \"22:00\"\n\
               \x20       end: \"25:00\"\n\
               \x20       zone: UTC\n",
        line: 9,
        message: "expected a time of day with two digits each, such as `\"04:30\"`, at most `\"24:00\"`, not `25:00`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - {days: [daily], start: \"24:00\", end: \"04:00\", zone: UTC}\n",
        line: 7,
        message: "a window cannot start at 24:00: write `00:00` and the day after",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - name: a\n\
               \x20   selector: {}\n\
               \x20   windows:\n\
               \x20     - {days: [daily], start: \"22:00\", end: \"22:20\", zone: UTC}\n",
        line: 7,
        message: "no window is open for longer than 20m, but a reboot is taken to need 27m (`assumed` and `soak`): nothing would ever start",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, freezes: [{from: 2026-12-24, to: 2026-12-20, zone: UTC, reason: x}]}\n",
        line: 4,
        message: "this freeze ends before it begins: exchange `from` and `to`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, freezes: [{from: 24.12.2026, to: 2026-12-26, zone: UTC, reason: x}]}\n",
        line: 4,
        message: "expected a day such as `2026-12-24`, or a time of the zone such as `2026-12-24T18:00`, not `24.12.2026`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, freezes: [{from: 2026-12-24T00:00:00Z, to: 2026-12-26, zone: UTC, reason: x}]}\n",
        line: 4,
        message: "expected a day such as `2026-12-24`, or a time of the zone such as `2026-12-24T18:00`, not `2026-12-24T00:00:00Z`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, freezes: [{from: 2026-12-24, to: 2026-12-26, zone: UTC}]}\n",
        line: 4,
        message: "a freeze lacks `reason`: add `reason: end of the year`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, waves: {percents: [10, 5]}}\n",
        line: 4,
        message: "each wave must reach further than the one before it, such as `[1, 10, 50]`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, waves: {percents: [10, 100]}}\n",
        line: 4,
        message: "expected a whole number from 1 to 99, not `100`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, waves: {canary: {nodes: 1, selector: {matchLabels: {a: b}}}}}\n",
        line: 4,
        message: "write either `nodes` or `selector`, not both",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, waves: {canary: {}}}\n",
        line: 4,
        message: "write `nodes: 1`, or a `selector`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, waves: {canary: {selector: {}}}}\n",
        line: 4,
        message: "a canary of every node is none: name a label, or write `nodes: 1`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, failureBudget: {failures: 0}}\n",
        line: 4,
        message: "expected a whole number from 1 to 1000, not `0`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, topology: [{key: rack, maxUnavailable: 1}, {key: rack, maxUnavailable: 2}]}\n",
        line: 4,
        message: "the topology label `rack` is there twice: remove one",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, topology: [{key: topology.kubernetes.io/zone, maxUnavailable: 1}]}\n",
        line: 4,
        message: "zones have fields of their own: write `perZone` and `zonesAtOnce` in the pool",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {timeout: 5m}}\n",
        line: 4,
        message: "`slow` (10m) must not be longer than `timeout` (5m)",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {unmanaged: delete}}\n",
        line: 4,
        message: "expected one of `block`, `evict`, not `delete`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {grace: 0s}}\n",
        line: 4,
        message: "expected more than no time at all, not `0s`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {skip: [{}]}}\n",
        line: 4,
        message: "this selects every pod: name at least one label",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {onFailure: rollback}}\n",
        line: 4,
        message: "expected `roll-back`, not `rollback`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, drain: {protected: [{matchLabels: {a: b}}], skip: [{matchLabels: {a: b}}]}}\n",
        line: 4,
        message: "the same pods are in `protected`, which waits for them, and in `skip`, which leaves them: remove one",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, deadlines: {rebootLeast: 2h}}\n",
        line: 4,
        message: "`rebootLeast` (2h) must not be longer than `rebootWithoutHistory` (30m)",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, backoff: {first: 2d}}\n",
        line: 4,
        message: "`first` (2d) must not be longer than `longest` (1d)",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, blockingPods: [{scope: node}]}\n",
        line: 4,
        message: "a blocking pod lacks `selector`: add `selector: {matchLabels: {app: backup}}`",
    },
    Nonsense {
        text: "cluster: {alertSource: {alertmanager: \"http://a\"}}\n\
               pools:\n\
               \x20 - {name: a, selector: {}, alerts: {matchers: [severity]}}\n",
        line: 5,
        message: "expected a matcher such as `severity=\"critical\"` or `alertname!~\"Watchdog|Info.*\"`, not `severity`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, alerts: {}}\n",
        line: 4,
        message: "`a` asks for alerts, and nothing says where: add `alertSource: {alertmanager: \"http://...\"}` to `cluster`",
    },
    Nonsense {
        text: "cluster: {alertSource: {alertmanager: \"http://a\"}}\n\
               pools:\n\
               \x20 - {name: a, selector: {}, alerts: {pending: block}}\n",
        line: 5,
        message: "`a` lets pending alerts block, which Alertmanager does not know: add `prometheus` to `alertSource`, or write `pending: ignore`",
    },
    Nonsense {
        text: "cluster: {alertSource: {}}\n",
        line: 3,
        message: "nobody is named: add `alertmanager`, `prometheus` or both",
    },
    Nonsense {
        text: "cluster: {alertSource: {prometheus: \"https://p\"}}\n",
        line: 3,
        message: "`https` needs the authorities that are trusted: add `ca: /path/to/ca.crt`",
    },
    Nonsense {
        text: "cluster: {alertSource: {prometheus: \"http://me@p\"}}\n",
        line: 3,
        message: "expected an address such as `http://alertmanager.monitoring.svc:9093`, without a user, not `http://me@p`",
    },
    Nonsense {
        text: "cluster: {alertSource: {prometheus: \"http://p\", ca: ca.crt}}\n",
        line: 3,
        message: "expected the path of a file, from `/` on, not `ca.crt`",
    },
    Nonsense {
        text: "pools:\n\
               \x20 - {name: a, selector: {}, rebootMethod: kexec}\n",
        line: 4,
        message: "expected one of `auto`, `logind`, `signal`, not `kexec`",
    },
    Nonsense {
        text: "cluster: {}\n\
               cluster: {}\n",
        line: 4,
        message: "`cluster` is there twice: remove one",
    },
    Nonsense {
        text: "pools: [\n",
        line: 3,
        message: "unclosed bracket '['",
    },
    Nonsense {
        text: "cluster: &a {}\n",
        line: 3,
        message: "anchors and aliases have no place in a policy: write it out",
    },
]
