"""Pydantic models of request parameters and response bodies, by topic.

The OpenAPI document is made from them. Request bodies that jobs are made of, such as the JobSpec, are in
`leym.contract.spec`.
"""
