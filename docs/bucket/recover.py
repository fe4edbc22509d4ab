#!/usr/bin/env python3
"""recover.py BUCKET PREFIX TIME [--do]: puts what is below PREFIX of a bucket with versions back to TIME, as 2026-11-28T03:00:00Z.

The key of the bucket's owner, and AWS_ENDPOINT_URL, are in the environment. Without --do it only counts. It removes no version,
only delete markers, so it can be run again, with another TIME too. Needs boto3.
"""
import datetime
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

if len(sys.argv) not in (4, 5) or sys.argv[4:] not in ([], ["--do"]):
    sys.exit(__doc__)
bucket, prefix, time = sys.argv[1], sys.argv[2].strip("/"), sys.argv[3]
time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
does = sys.argv[4:] == ["--do"]
prefix = prefix + "/" if prefix else ""
# Of who was at work then: nobody is now.
PASSING = ("leases/", "claims/", "probe/")
if time.tzinfo is None:
    sys.exit("TIME needs its zone: ...Z or ...+01:00")
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 10}, max_pool_connections=16))
if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
    sys.exit("versioning is not enabled: enable it first, or what is put back replaces what is there")

# By its key, each version: its time, whether it is the latest, whether it is a delete marker, its id.
found = {}
for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
    for kind in ("Versions", "DeleteMarkers"):
        for one in page.get(kind, []):
            version = (one["LastModified"], one["IsLatest"], kind == "DeleteMarkers", one["VersionId"])
            found.setdefault(one["Key"], []).append(version)


def put_back(key):
    versions = sorted(found[key], key=lambda one: one[:2], reverse=True)
    newer = [one for one in versions if one[0] > time]
    then = next((one for one in versions if one[0] <= time), None)
    is_gone = next((one[2] for one in versions if one[1]), True)
    if key[len(prefix):].startswith(PASSING) or then is None or then[2]:
        if is_gone:
            return "not there, as then"
        if does:
            s3.delete_object(Bucket=bucket, Key=key)
        return "hidden"
    if not newer:
        return "as then"
    if all(one[2] for one in newer):
        for one in newer if does else ():
            s3.delete_object(Bucket=bucket, Key=key, VersionId=one[3])
        return "undeleted"
    if does:
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key, "VersionId": then[3]})
    return "replaced by what was then"


def tried(key):
    try:
        return put_back(key)
    except Exception as error:
        print(f"{key}: {error}", file=sys.stderr)
        return "FAILED"


with ThreadPoolExecutor(16) as pool:
    done = list(pool.map(tried, sorted(found)))
counts = ", ".join(f"{done.count(what)} {what}" for what in sorted(set(done)))
print("done:" if does else "would be done with --do:", counts or "nothing is there")
sys.exit("FAILED" in done)
