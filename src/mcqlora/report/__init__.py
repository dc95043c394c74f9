"""Numbers to statements: intervals, summary.json, report.md, figures and the data card."""
