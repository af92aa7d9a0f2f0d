"""What the tasks in `tasks/` call: documents, answer extraction, and the execution of generated programs."""
