"""Of the fields that SkyPilot documents for a task, those that our file uses, as a JSON schema of our own.

Fields: https://docs.skypilot.co/en/latest/reference/yaml-spec.html
exit codes that are recovered: https://docs.skypilot.co/en/latest/examples/managed-jobs.html#recovering-on-specific-exit-codes
"""

from tests.helpers.deploy.kubernetes_schemas import TEXT, record

VARIABLES = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z_][a-zA-Z0-9_]*$": {"type": ["string", "null"]}},
    "additionalProperties": False,
}
# 137 is SkyPilot's own.
EXIT_CODE = {"type": "integer", "minimum": 1, "maximum": 255, "not": {"const": 137}}
TASK = record(
    {
        "name": TEXT,
        "workdir": TEXT,
        "num_nodes": {"type": "integer", "minimum": 1},
        "resources": record(
            {
                "accelerators": {"type": "string", "pattern": r"^[A-Za-z0-9-]+:[0-9]+$"},
                "cpus": {"type": "string", "pattern": r"^[0-9]+\+?$"},
                "use_spot": {"type": "boolean"},
                "job_recovery": record(
                    {
                        "max_restarts_on_errors": {"type": "integer", "minimum": 0},
                        "recover_on_exit_codes": {"type": "array", "items": EXIT_CODE, "uniqueItems": True},
                    },
                    {"strategy": {"enum": ["FAILOVER", "EAGER_NEXT_REGION"]}},
                ),
            },
            {"disk_size": {"type": "integer", "minimum": 1}, "infra": TEXT},
        ),
        "envs": VARIABLES,
        "secrets": VARIABLES,
        "setup": TEXT,
        "run": TEXT,
    }
)
