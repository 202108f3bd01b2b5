"""The parts of the page of one patient; see ``_patient_report.py``."""
