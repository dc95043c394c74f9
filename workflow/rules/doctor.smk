rule doctor:
    """What this machine can run: packages, devices, memory, disk, ports, fonts; needs no data."""
    log:
        f"{LOGS}/doctor.log",
    conda:
        ENVIRONMENT
    params:
        code=code("doctor.py"),
    script:
        "../scripts/doctor.py"
