"""A stack can be deployed next to other stacks of an AWS account, with a permissions boundary, and in a VPC."""

import json
from typing import Any

import pytest

from tests.contract.test_routes import functions
from tests.contract.test_template import properties, transformed
from tests.reach import function_names
from tests.template import resources, template

NAMES = {
    "AWS::ApiGateway::RestApi": "Name",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::CodeDeploy::Application": "ApplicationName",
    "AWS::CodeDeploy::DeploymentGroup": "DeploymentGroupName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Lambda::LayerVersion": "LayerName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Scheduler::Schedule": "Name",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::WAFv2::WebACL": "Name",
}
"""For each type of resource, the property with its name. If it is not set, CloudFormation makes a unique name."""
WITHOUT_A_NAME = {
    *("AWS::ApiGateway::Account", "AWS::ApiGateway::Deployment", "AWS::ApiGateway::Stage", "AWS::Lambda::Alias"),
    *("AWS::Lambda::EventInvokeConfig", "AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"),
    *("AWS::Lambda::Version", "AWS::WAFv2::WebACLAssociation"),
}
"""Types of resources that have no name, or whose name must be unique only within another resource."""


def of_type(made: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of the resources of a type, by logical id."""
    return {name: each["Properties"] for name, each in made.items() if each["Type"] == kind}


def test_two_stacks_in_one_aws_account_share_no_resource_names(monkeypatch: pytest.MonkeyPatch) -> None:
    made = transformed(monkeypatch)
    names = {
        logical_id: each["Properties"].get(NAMES[each["Type"]])
        for logical_id, each in made.items()
        if each["Type"] in NAMES
    }
    explicit = {logical_id: name for logical_id, name in names.items() if name is not None}

    assert {each["Type"] for each in made.values()} == NAMES.keys() | WITHOUT_A_NAME
    assert {"CreditsFunction", "SweeperFunctionSchedule", "LedgerDriftAlarm", "AuditorLogs"} <= explicit.keys()
    assert {logical_id for logical_id, name in explicit.items() if "AWS::StackName" not in json.dumps(name)} == set()
    assert {name for name, output in template()["Outputs"].items() if "Export" in output} == set()


def test_every_function_adds_its_stack_to_its_metrics() -> None:
    assert functions()
    for found in functions().values():
        assert found["Environment"]["Variables"]["STACK_NAME"] == {"Ref": "AWS::StackName"}


def test_an_alarm_on_our_metrics_watches_only_its_own_stack() -> None:
    alarms = [each["Properties"] for each in resources("AWS::CloudWatch::Alarm").values()]
    ours = [each for each in alarms if each["Namespace"] == "AccountingService"]

    assert {"LedgerDrift", "WalletsAudited", "SweepFailures"} <= {each["MetricName"] for each in ours}
    for alarm in ours:
        assert alarm["Dimensions"] == [
            {"Name": "service", "Value": "accounting-service"},
            {"Name": "stack", "Value": {"Ref": "AWS::StackName"}},
        ], alarm["MetricName"]


def test_the_dashboard_shows_our_metrics_only_from_its_own_stack() -> None:
    widgets = json.loads(properties("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"])["widgets"]
    metrics = [found for widget in widgets if (found := widget["properties"].get("metrics"))]
    ours = [each for found in metrics if found[0][0] == "AccountingService" for each in unfolded(found)]
    dimensions = [each[2:6] for each in ours if each[0] == "AccountingService"]

    assert len(dimensions) > 10
    assert all(each == ["service", "accounting-service", "stack", "${AWS::StackName}"] for each in dimensions)


def unfolded(metrics: list[list[Any]]) -> list[list[Any]]:
    """A widget's metrics. In the template, "." repeats the value at the same place in the previous metric."""
    found = [metrics[0]]
    for series in metrics[1:]:
        found.append([found[-1][place] if part == "." else part for place, part in enumerate(series)])
    return found


def test_every_role_has_the_permissions_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = of_type(transformed(monkeypatch), "AWS::IAM::Role")
    boundary = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}

    assert {"ApiGatewayLogsRole", "GradualDeploymentRole", "SweeperFunctionScheduleRole"} < roles.keys()
    assert {name for name, role in roles.items() if role.get("PermissionsBoundary") != boundary} == set()


@pytest.mark.parametrize("function", function_names())
def test_a_function_runs_in_the_vpc_that_the_parameters_set(function: str) -> None:
    subnets_and_groups = {"SubnetIds": {"Ref": "VpcSubnetIds"}, "SecurityGroupIds": {"Ref": "VpcSecurityGroupIds"}}

    assert functions()[function]["VpcConfig"] == {"Fn::If": ["RunsInVpc", subnets_and_groups, {"Ref": "AWS::NoValue"}]}


def test_a_functions_code_cannot_use_the_network_permissions_of_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    made = transformed(monkeypatch)
    attaching = {
        name
        for name, role in of_type(made, "AWS::IAM::Role").items()
        if any("AWSLambdaVPCAccessExecutionRole" in str(policy) for policy in role.get("ManagedPolicyArns", []))
    }
    (policy,) = of_type(made, "AWS::IAM::ManagedPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    function = statement["Condition"]["ArnLike"]["lambda:SourceFunctionArn"]["Fn::Sub"]

    assert len(attaching) == len(function_names())
    assert {role["Ref"] for role in policy["Roles"]} == attaching
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "ec2:*", "*")
    assert function.endswith(":function:${AWS::StackName}-*")
