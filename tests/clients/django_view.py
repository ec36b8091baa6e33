"""Calls the guide's view as Django does: settings from DJANGO_SETTINGS_MODULE, a request, a response."""

import os
import sys

sys.path.insert(0, os.getcwd())

import django
from django.test import RequestFactory

django.setup()
from views import send_email_view

print(send_email_view(RequestFactory().post("/send-email")).content.decode())
