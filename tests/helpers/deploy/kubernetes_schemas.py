"""Of the fields that Kubernetes, KubeRay and Kueue document, those that our files use, as JSON schemas of our own.

RayJob and RayCluster: https://ray-project.github.io/kuberay/reference/api/ (ray.io/v1)
pods: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
queues: https://kueue.sigs.k8s.io/docs/reference/kueue.v1beta2/
what Kueue requires of a RayJob: https://kueue.sigs.k8s.io/docs/tasks/run/rayjobs/#c-limitations
"""

from typing import Any

# Names of objects that become parts of the names of others; KubeRay takes 47 letters of a RayJob.
NAME = {"type": "string", "pattern": r"^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Mi|Gi|Ti)?$"}
LABELS = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}\w)?$"},
}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these fields and no others."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


def rows(item: dict[str, Any], most: int = 100) -> dict[str, Any]:
    """An array of at least one of them."""
    return {"type": "array", "minItems": 1, "maxItems": most, "items": item}


def of_kind(version: str, kind: str, fields: dict[str, Any], labels: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of the API."""
    metadata = record({"name": NAME, **({"labels": labels} if labels else {})})
    return record({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, **fields})


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
RESOURCES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = record(
    {
        "name": NAME,
        # Never the image that happens to be the newest.
        "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:(?!latest)[A-Za-z0-9_.-]+$"},
        "resources": record({"requests": RESOURCES, "limits": RESOURCES}),
        "securityContext": record({"allowPrivilegeEscalation": {"const": False}}),
    },
    {
        "env": rows(record({"name": TEXT, "value": TEXT})),
        "lifecycle": record({"preStop": record({"exec": record({"command": rows(TEXT)})})}),
        "volumeMounts": rows(record({"name": NAME, "mountPath": {"type": "string", "pattern": "^/"}})),
        "ports": rows(record({"name": NAME, "containerPort": {"type": "integer", "minimum": 1, "maximum": 65535}})),
    },
)
VOLUME = record(
    {"name": NAME},
    {
        "persistentVolumeClaim": record({"claimName": NAME}),
        "emptyDir": record({}, {"medium": {"enum": ["", "Memory"]}, "sizeLimit": QUANTITY}),
    },
)
POD = record(
    {
        "spec": record(
            {
                "containers": rows(CONTAINER),
                "securityContext": record(
                    {"runAsNonRoot": {"const": True}, "runAsUser": {"type": "integer", "minimum": 1}},
                    {"fsGroup": {"type": "integer"}, "fsGroupChangePolicy": {"enum": ["OnRootMismatch", "Always"]}},
                ),
                "terminationGracePeriodSeconds": COUNT,
            },
            {"volumes": rows(VOLUME)},
        )
    }
)
PARAMS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_CLUSTER = record(
    {
        # A cluster that requires a token is of Ray 2.52 or newer; one whose pods KubeRay checks over HTTP, and not with
        # wget, which the image lacks, of 2.53: https://github.com/ray-project/kuberay/pull/4448
        "rayVersion": {"type": "string", "pattern": r"^2\.(5[3-9]|[6-9][0-9]|[0-9]{3})\.[0-9]+$"},
        "authOptions": record({"mode": {"const": "token"}, "secretName": NAME}),
        "headGroupSpec": record({"rayStartParams": PARAMS, "template": POD}),
        # Kueue takes 8 sets of pods: the head and 7 groups. It takes no cluster that grows by itself either
        # (enableInTreeAutoscaling, which is no field here).
        "workerGroupSpecs": rows(
            record(
                {
                    "groupName": NAME,
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": PARAMS,
                    "template": POD,
                }
            ),
            most=7,
        ),
    }
)
RAY_JOB = of_kind(
    "ray.io/v1",
    "RayJob",
    {
        "spec": record(
            {
                "entrypoint": TEXT,
                "suspend": {"type": "boolean"},
                "rayClusterSpec": RAY_CLUSTER,
                # Of what may be suspended KubeRay and Kueue require it.
                "shutdownAfterJobFinishes": {"const": True},
                "backoffLimit": COUNT,
                "ttlSecondsAfterFinished": COUNT,
            },
            {"activeDeadlineSeconds": {"type": "integer", "minimum": 1}, "runtimeEnvYAML": TEXT},
        )
    },
    labels=LABELS,
)
CLAIM = of_kind(
    "v1",
    "PersistentVolumeClaim",
    {
        "spec": record(
            {
                "accessModes": {"const": ["ReadWriteMany"]},
                "storageClassName": NAME,
                "resources": record({"requests": record({"storage": QUANTITY})}),
            }
        )
    },
)
QUEUES = "kueue.x-k8s.io/v1beta2"
PREEMPTS = {"enum": ["Never", "LowerPriority", "LowerOrNewerEqualPriority"]}
FLAVOR = of_kind(QUEUES, "ResourceFlavor", {})
CLUSTER_QUEUE = of_kind(
    QUEUES,
    "ClusterQueue",
    {
        "spec": record(
            {
                "namespaceSelector": {"type": "object"},
                "resourceGroups": rows(
                    record(
                        {
                            "coveredResources": rows(TEXT, most=64),
                            "flavors": rows(
                                record(
                                    {
                                        "name": NAME,
                                        "resources": rows(record({"name": TEXT, "nominalQuota": QUANTITY})),
                                    }
                                ),
                                most=64,
                            ),
                        }
                    ),
                    most=16,
                ),
            },
            {"preemption": record({}, {"withinClusterQueue": PREEMPTS})},
        )
    },
)
LOCAL_QUEUE = of_kind(QUEUES, "LocalQueue", {"spec": record({"clusterQueue": NAME})})
PRIORITY = of_kind(QUEUES, "WorkloadPriorityClass", {"value": {"type": "integer"}, "description": TEXT})
SCHEMAS = {
    "RayJob": RAY_JOB,
    "PersistentVolumeClaim": CLAIM,
    "ResourceFlavor": FLAVOR,
    "ClusterQueue": CLUSTER_QUEUE,
    "LocalQueue": LOCAL_QUEUE,
    "WorkloadPriorityClass": PRIORITY,
}
